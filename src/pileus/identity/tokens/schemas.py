"""The request of POST /auth/tokens, and how tokens are shown."""

from collections.abc import Sequence
from typing import Any

from pileus.identity.domain import Project
from pileus.identity.tokens.verified import Verified
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.fields import Body, Param

_REFERENCE = (Param("id", str, nullable=True), Param("name", str, nullable=True))
_USER = (
    Param("id", str, nullable=True),
    Param("name", str, nullable=True),
    Param("domain", _REFERENCE, nullable=True),
    Param("password", str, required=True),
)
LOGIN = Body(
    "auth",
    Param(
        "identity",
        (
            Param("methods", list[str], required=True),
            Param("password", (Param("user", _USER, required=True),)),
            Param("token", (Param("id", str, required=True),)),
        ),
        required=True,
    ),
    Param("scope", dict[str, Any] | str, nullable=True),
    extra=True,
    strict=True,
)


def shown(verified: Verified, catalog: Sequence[Any] | None) -> dict[str, Any]:
    """The `token` object of responses. `catalog` None: it was not wanted, or the token has no scope."""
    claims, user = verified.claims, verified.user
    token: dict[str, Any] = {
        "methods": claims.methods,
        "user": {
            "domain": _named(verified.user_domain),
            "id": user.id,
            "name": user.name,
            "password_expires_at": iso_micro_z(user.password_expires_at),
        },
        "audit_ids": claims.audit_ids,
        "issued_at": iso_micro_z(claims.issued_at),
        "expires_at": iso_micro_z(claims.expires_at),
    }
    if claims.identity_provider:
        token["user"]["OS-FEDERATION"] = {
            "groups": [{"id": group_id} for group_id in verified.groups],
            "identity_provider": {"id": claims.identity_provider},
            "protocol": {"id": claims.protocol},
        }
    place, home = verified.place, verified.place_domain
    if claims.scope == "project" and place is not None and home is not None:
        token["project"] = {"domain": _named(home), **_named(place)}
        token["is_domain"] = place.is_domain
    elif claims.scope == "domain" and place is not None:
        token["domain"] = _named(place)
    elif claims.scope == "system":
        token["system"] = {"all": True}
    if claims.scope != "unscoped":
        token["roles"] = verified.roles
        if catalog is not None:
            token["catalog"] = catalog
    return token


def _named(project: Project) -> dict[str, str]:
    return {"id": project.id, "name": project.name}
