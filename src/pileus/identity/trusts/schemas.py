"""Request and response fields of trusts."""

from typing import Any

from pileus.identity.rest import Attributes, Id, RoleReference
from pileus.identity.trusts.domain import Trust
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.fields import Field, Integer, Param, View

CREATE = Attributes(
    "trust",
    Param("trustor_user_id", Id, required=True),
    Param("trustee_user_id", Id, required=True),
    Param("impersonation", bool, required=True),
    Param("project_id", Id, nullable=True),
    Param("roles", list[RoleReference]),
    Param("expires_at", str, nullable=True),
    Param("remaining_uses", Integer(1, (1 << 31) - 1), nullable=True),
    Param("allow_redelegation", bool, nullable=True),
    Param("redelegation_count", Integer(0, (1 << 31) - 1), nullable=True),
)


def _field(name: str) -> Field:
    def read(trust: Trust) -> Any:
        return getattr(trust, name)

    return Field(name, read)


def _expires_at(trust: Trust) -> str | None:
    return iso_micro_z(trust.expires_at)


def _deleted_at(_trust: Trust) -> None:
    """A deleted trust is never shown."""


TRUST = View(
    *map(_field, ("id", "trustor_user_id", "trustee_user_id", "impersonation", "project_id", "remaining_uses",
                  "redelegated_trust_id", "redelegation_count")),
    Field("expires_at", _expires_at),
    Field("deleted_at", _deleted_at),
)  # fmt: skip
