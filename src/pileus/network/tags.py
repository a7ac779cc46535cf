"""Tags: words that users put on networks, subnets, ports, routers, floating IPs and security groups."""

from collections.abc import Sequence

import sqlalchemy as sa

from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, NotFound
from pileus.network import models, rows
from pileus.network.domain import Standard

MAX_LENGTH = 255
MAX_TAGS = 50

TABLES: dict[str, sa.Table] = {
    "networks": models.network,
    "subnets": models.subnet,
    "ports": models.port,
    "routers": models.router,
    "floatingips": models.floating_ip,
    "security-groups": models.security_group,
}
"""Collections whose members can be tagged."""


class Tags:
    """Changes the tags of things that the caller was found to own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def replace(self, tx: Tx, collection: str, thing: Standard, tags: Sequence[str]) -> tuple[str, ...]:
        """Make these the thing's tags. BadRequest if one is too long or they are too many."""
        for tag in tags:
            if not 0 < len(tag) <= MAX_LENGTH:
                raise BadRequest(f"Invalid input for tags. Reason: '{tag}' is not of 1 to {MAX_LENGTH} characters.")
        kept = tuple(dict.fromkeys(tags))
        if len(kept) > MAX_TAGS:
            raise BadRequest(f"Invalid input for tags. Reason: more than {MAX_TAGS} tags.")
        rows.change(tx, TABLES[collection], thing.id, self._clock.now(), {"tags": kept})
        return kept

    def clear(self, tx: Tx, collection: str, thing: Standard) -> None:
        """Remove all tags of a thing."""
        self.replace(tx, collection, thing, ())

    def add(self, tx: Tx, collection: str, thing: Standard, tag: str) -> None:
        """Add one tag; one that is there already is fine."""
        if tag not in thing.tags:
            self.replace(tx, collection, thing, (*thing.tags, tag))

    def remove(self, tx: Tx, collection: str, thing: Standard, tag: str) -> None:
        """Remove one tag. TagNotFound if it is not there."""
        check(thing, tag)
        self.replace(tx, collection, thing, tuple(other for other in thing.tags if other != tag))


def check(thing: Standard, tag: str) -> None:
    """TagNotFound unless the thing has the tag."""
    if tag not in thing.tags:
        raise NotFound(f"Tag {tag} could not be found.", kind="TagNotFound")
