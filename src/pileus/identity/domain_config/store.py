"""Every query about the options of domains."""

from typing import Any

import msgspec
import sqlalchemy as sa

from pileus.identity.domain_config.models import domain_option as _option
from pileus.kernel.db import Tx


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An option as it is stored. `encrypted_value` is None where the option is not sensitive."""

    section: str
    name: str
    value: Any = None
    encrypted_value: str | None = None


_COLUMNS = tuple(_option.c[name] for name in Stored.__struct_fields__)


def options_of(tx: Tx, domain_id: str) -> list[Stored]:
    """All options that a domain has of its own."""
    statement = sa.select(*_COLUMNS).where(_option.c.domain_id == domain_id)
    return [Stored(**row._mapping) for row in tx.all(statement.order_by(_option.c.section, _option.c.name))]


def put(tx: Tx, domain_id: str, options: list[Stored]) -> None:
    """Store options, in the place of those of the same name."""
    for option in options:
        delete(tx, domain_id, option.section, option.name)
    tx.execute(sa.insert(_option), [{"domain_id": domain_id, **msgspec.structs.asdict(option)} for option in options])


def delete(tx: Tx, domain_id: str, section: str | None = None, name: str | None = None) -> None:
    """Delete one option, those of a section, or all."""
    statement = sa.delete(_option).where(_option.c.domain_id == domain_id)
    if section is not None:
        statement = statement.where(_option.c.section == section)
    if name is not None:
        statement = statement.where(_option.c.name == name)
    tx.execute(statement)
