"""What the commands of `pileus image cache` do.

Hosts are asked several at once. One that does not answer is named on standard error, and makes the exit code 1; what
the others say is shown all the same.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from pileus.agent.api import CachedImage, PruneImages
from pileus.cli.context import opened_database
from pileus.compute.image_cache.domain import Wish
from pileus.compute.image_cache.service import SYSTEM
from pileus.compute.servers.neighbours import Image
from pileus.image.domain import Filters
from pileus.image.service import Images
from pileus.kernel.clock import iso
from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict, NotFound, PileusError
from pileus.kernel.ids import is_uuid
from pileus.kernel.loops import states
from pileus.kernel.paging import Page
from pileus.settings import Settings
from pileus.wiring import Cloud, build, cloud_secret

T = TypeVar("T")
_SHORT = 12  # characters of a checksum that are shown to people


@contextmanager
def opened(settings: Settings) -> Iterator[Cloud]:
    """The cloud, closed afterwards. Unavailable if its database cannot be used."""
    with opened_database(settings) as db:
        with db.read() as tx:
            states(tx)  # a machine without a cloud is told so here, before a secret is made for one
        cloud = build(settings, cloud_secret(settings))
        try:
            yield cloud
        finally:
            cloud.close()


def chosen(cloud: Cloud, names: Sequence[str], aggregate: str | None = None) -> list[str]:
    """The hosts that are named or in an aggregate; all that are up and enabled, if neither is given. NotFound."""
    with cloud.db.read() as tx:
        if aggregate is not None:
            members = cloud.compute_api.aggregates.named(tx, aggregate).hosts
            return [name for name in members if not names or name in names]
        if names:
            return [cloud.hosts.get(tx, name).name for name in names]
        return [host.name for host in cloud.hosts.all(tx) if host.up and host.enabled]


def found(cloud: Cloud, names: Sequence[str]) -> list[Image]:
    """Images by id or by name. NotFound if there is none, Conflict if several have the name."""
    with cloud.db.read() as tx:
        return [_image(tx, cloud.images, name) for name in names]


def _image(tx: Tx, images: Images, name: str) -> Image:
    if is_uuid(name):
        return images.get(tx, SYSTEM, name)
    several, _ = images.page(tx, SYSTEM, Filters(visible_to=None, equal={"name": name}), Page(2))
    if not several:
        raise NotFound(f"There is no image {name}.")
    if len(several) > 1:
        raise Conflict(f"Several images are named {name}: give an id.")
    return several[0]


# --- list ---------------------------------------------------------------------------------------------------


def show(cloud: Cloud, names: Sequence[str], *, as_json: bool) -> int:
    """Print what caches hold. 1 if a host did not answer."""
    with cloud.db.read() as tx:
        hosts = [cloud.hosts.get(tx, name).name for name in names] or [one.name for one in cloud.hosts.all(tx)]
        wishes = [wish for wish in cloud.image_caches.wishes(tx) if wish.host in hosts]
    answers = cloud.image_caches.each(hosts, cloud.image_caches.cached)
    said = _answered(answers)
    ids = {one for cached in said.values() for image in cached.images for one in image.image_ids}
    titles = _titles(cloud, ids | {wish.image_id for wish in wishes})
    if as_json:
        _print_json(answers, {host: _with_wishes(host, cached, wishes) for host, cached in said.items()})
    else:
        rows = [_row(host, image, titles) for host, cached in said.items() for image in cached.images]
        rows += [_waiting(wish, titles) for wish in wishes]
        columns = ("host", "image", "checksum", "state", "format", "size", "virtual size", "servers", "last used",
                   "verified")  # fmt: skip
        _print_table(columns, rows, "No host holds an image.")
    return _errors(answers)


def _titles(cloud: Cloud, ids: set[str]) -> dict[str, str]:
    """Images' names, for those that there are and that have one."""
    with cloud.db.read() as tx:
        images = [cloud.images.find(tx, one) for one in sorted(ids)]
    return {image.id: image.name for image in images if image is not None and image.name}


def _row(host: str, image: CachedImage, titles: Mapping[str, str]) -> tuple[str, ...]:
    return (
        host,
        ", ".join(titles.get(one, one) for one in image.image_ids),
        image.checksum[:_SHORT],
        image.state,
        image.format,
        decimal(image.size),
        decimal(image.virtual_size),
        str(len(image.users)),
        _when(image.last_used),
        _when(image.verified_at),
    )


def _waiting(wish: Wish, titles: Mapping[str, str]) -> tuple[str, ...]:
    state = "to be fetched" if wish.error is None else f"to be fetched ({wish.error})"
    return wish.host, titles.get(wish.image_id, wish.image_id), "", state, "", "", "", "", "", ""


def _with_wishes(host: str, cached: Any, wishes: Sequence[Wish]) -> dict[str, Any]:
    waiting = [msgspec.to_builtins(wish) for wish in wishes if wish.host == host]
    return {**msgspec.to_builtins(cached), "to_be_fetched": waiting}


def _when(instant: int) -> str:
    return iso(instant) or "" if instant else "never"


# --- prefetch, verify, prune --------------------------------------------------------------------------------


def wish(cloud: Cloud, names: Sequence[str], hosts: Sequence[str]) -> None:
    """Note that hosts are to have images; the conductor sees to it."""
    ids = [image.id for image in found(cloud, names)]
    cloud.db.transact(lambda tx: cloud.image_caches.request(tx, SYSTEM, hosts, ids))
    print(f"{len(hosts)} hosts will fetch {len(ids)} images; `pileus image cache list` shows what is missing.")


def prefetch(cloud: Cloud, names: Sequence[str], hosts: Sequence[str], *, as_json: bool) -> int:
    """Have hosts fetch images and wait for them, printing what arrived. 1 if one did not."""
    images = found(cloud, names)

    def fetch(host: str) -> list[str]:
        for image in images:
            while not cloud.image_caches.fetch(host, image):
                cloud.clock.sleep(0.5)
        return [image.id for image in images]

    answers = cloud.image_caches.each(hosts, fetch)
    said = _answered(answers)
    if as_json:
        _print_json(answers, {host: {"images": ids} for host, ids in said.items()})
    else:
        _print_table(("host", "images"), [(host, ", ".join(names)) for host in said], "No host has fetched them.")
    return _errors(answers)


def verify(cloud: Cloud, names: Sequence[str], hosts: Sequence[str], *, as_json: bool) -> int:
    """Have hosts verify their caches, printing what was found. 1 if something is damaged or a host did not answer."""
    checksums = _checksums(cloud, names)
    answers = cloud.image_caches.each(chosen(cloud, hosts), lambda host: cloud.image_caches.verify(host, checksums))
    said = _answered(answers)
    if as_json:
        _print_json(answers, said)
    else:
        rows = [
            (host, str(len(one.verified)), str(len(one.damaged)), " ".join(sum_[:_SHORT] for sum_ in one.damaged))
            for host, one in said.items()
        ]
        _print_table(("host", "sound", "damaged", "set aside"), rows, "There are no hosts.")
    return 1 if any(one.damaged for one in said.values()) else _errors(answers)


def prune(cloud: Cloud, names: Sequence[str], hosts: Sequence[str], unused_for: float | None, *, as_json: bool) -> int:
    """Have hosts remove unused images, printing what went. `unused_for` in seconds. 1 if a host did not answer."""
    what = PruneImages(unused_for=unused_for, checksums=_checksums(cloud, names))
    answers = cloud.image_caches.each(chosen(cloud, hosts), lambda host: cloud.image_caches.prune(host, what))
    said = _answered(answers)
    if as_json:
        _print_json(answers, said)
    else:
        rows = [(host, str(len(one.removed)), decimal(one.freed)) for host, one in said.items()]
        _print_table(("host", "removed", "freed"), rows, "There are no hosts.")
    return _errors(answers)


def _checksums(cloud: Cloud, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(image.os_hash_value for image in found(cloud, names) if image.os_hash_value)


# --- printing -----------------------------------------------------------------------------------------------


def _answered(answers: Mapping[str, T | PileusError]) -> dict[str, T]:
    return {host: one for host, one in answers.items() if not isinstance(one, PileusError)}


def _errors(answers: Mapping[str, object]) -> int:
    """Name the hosts that did not answer, and why. 1 if there are any."""
    failed = {host: one for host, one in answers.items() if isinstance(one, PileusError)}
    for host, err in failed.items():
        print(f"pileus: {host}: {err.message}", file=sys.stderr)
    return 1 if failed else 0


def _print_json(answers: Mapping[str, object], said: Mapping[str, object]) -> None:
    document = {
        host: {"error": one.message} if isinstance(one, PileusError) else msgspec.to_builtins(said[host])
        for host, one in answers.items()
    }
    print(json.dumps({"hosts": document}, indent=2))


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], otherwise: str) -> None:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 500  # one line for each, for programs that read it
    console.print(table if rows else otherwise)
