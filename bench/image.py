"""The image service's numbers: uploads and downloads, pages of many images, boots from the host's cache.

`python -m bench.image [--mib 1024] [--images 10000]`. Transfers and pages: a real cloud; the images of the long list
are copies of one, written into the database. The cache: the agent's own code with a source that counts, and disks made
by qemu-img as for any guest.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa
from bench.support.http import Connection
from bench.support.report import Figure, percentiles, show
from bench.support.site import Site, site
from bench.upload import MIB, send

from pileus.agent.api import DisksSpec, ImageRef
from pileus.agent.disks import FileDisks
from pileus.agent.image_cache import ImageCache
from pileus.agent.journal import Journal
from pileus.image.models import image, image_location
from pileus.kernel.db import Database, DatabaseSettings
from pileus.kernel.ids import new_uuid

BOOTS = 20
CHUNK = 1 << 20


def transfers(cloud: Site, mib: int) -> list[Figure]:
    """One image up, and down three times."""
    made = cloud.api.make("/image/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"})
    up = send(cloud, made["id"], mib)
    down = statistics.median(receive(cloud, made["id"]) for _ in range(3))
    cloud.api.ask("DELETE", f"/image/v2/images/{made['id']}")
    return [
        Figure(f"upload of {mib} MiB", up, "MiB/s", 243, 162, more=True),
        Figure(f"download of {mib} MiB", down, "MiB/s", 1656, 1104, more=True),
    ]


def receive(cloud: Site, image_id: str) -> float:
    """Download; MiB per second."""
    connection = Connection(cloud.cloud.port, cloud.api.token)
    begun = time.perf_counter()
    size = connection.download(f"/image/v2/images/{image_id}/file")
    return size / MIB / (time.perf_counter() - begun)


def pages(cloud: Site, count: int) -> list[Figure]:
    """The whole list, page by page: milliseconds of a page."""
    made = cloud.api.make("/image/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"})
    send(cloud, made["id"], 1)
    copy_image(cloud, made["id"], count)
    figures = []
    for size, goal in ((100, None), (1000, 60)):
        taken = list(walk(cloud, size, count))
        figures.append(Figure(f"a page of {size} of {count:,} images, p50", percentiles(taken)[0], "ms", goal))
        figures.append(Figure(f"a page of {size} of {count:,} images, p95", percentiles(taken)[1], "ms", goal))
    return figures


def walk(cloud: Site, size: int, count: int) -> Iterator[float]:
    """Milliseconds of each page, from the first to the last."""
    path, seen = f"/image/v2/images?limit={size}", 0
    while path:
        begun = time.perf_counter()
        status, answer = cloud.api.ask("GET", path)
        yield (time.perf_counter() - begun) * 1000
        assert status == 200, answer
        seen += len(answer["images"])
        path = f"/image{answer['next']}" if "next" in answer else ""
    assert seen >= count, seen


def copy_image(cloud: Site, image_id: str, count: int) -> None:
    """Write copies of an image into the database."""
    db = Database(DatabaseSettings(url=f"sqlite:///{cloud.cloud.directory}/state/pileus.db"))
    with db.write() as tx:
        row = tx.one(sa.select(image).where(image.c.id == image_id))
        assert row is not None
        ids = [new_uuid() for _ in range(count)]
        rows = [{**row._mapping, "id": each, "created_at": row.created_at + n} for n, each in enumerate(ids)]
        tx.execute(sa.insert(image), rows)
        tx.execute(sa.insert(image_location), [{"image_id": each, "position": 0, "store": "local"} for each in ids])
    db.close()


class Source:
    """Hands out one image and counts how often."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.downloads = 0
        self._lock = threading.Lock()

    def __call__(self, _image_id: str, start: int) -> Iterator[bytes]:
        with self._lock:
            self.downloads += 1
        for position in range(start, len(self.data), CHUNK):
            yield self.data[position : position + CHUNK]


def boots(directory: Path) -> list[Figure]:
    """Twenty first boots at once, then twenty more one by one."""
    data = os.urandom(64 * MIB)
    ref = ImageRef(
        id="i", checksum=hashlib.sha512(data).hexdigest(), hash_algo="sha512", size=len(data), disk_format="raw"
    )
    source = Source(data)
    cache = ImageCache(directory / "cache", source)
    disks = FileDisks(directory / "disks", cache, Journal(directory / "journal"), lambda _: None)

    def boot(number: int) -> float:
        begun = time.perf_counter()
        disks.ensure(DisksSpec(server_id=f"s{number}", image=ref, root_gb=1))
        return (time.perf_counter() - begun) * 1000

    with ThreadPoolExecutor(BOOTS) as pool:
        list(pool.map(boot, range(BOOTS)))
    used = sum(path.stat().st_blocks * 512 for path in (directory / "disks").rglob("*") if path.is_file())
    taken = [boot(BOOTS + number) for number in range(BOOTS)]
    return [
        Figure(f"downloads for {BOOTS} first boots at once", source.downloads, "", 1),
        Figure("what a disk from the cache takes at first", used / BOOTS / 1024, "KiB"),
        Figure("root disk of a cached image, p50", percentiles(taken)[0], "ms", 30),
        Figure("root disk of a cached image, p95", percentiles(taken)[1], "ms", 30),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with site() as cloud:
        figures = transfers(cloud, options.mib) + pages(cloud, options.images)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        figures += boots(Path(scratch))
    show("a real cloud with one client, and a host's image cache", figures)


if __name__ == "__main__":
    main()
