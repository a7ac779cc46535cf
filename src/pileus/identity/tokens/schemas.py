"""The request of POST /auth/tokens, and how tokens are shown."""

from collections.abc import Sequence
from typing import Any

from pileus.identity.application_credentials.schemas import RULE
from pileus.identity.domain import Project
from pileus.identity.multifactor.receipts import InsufficientMethods
from pileus.identity.tokens.verified import Mandate, Verified
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.fields import Body, Param

_REFERENCE = (Param("id", str, nullable=True), Param("name", str, nullable=True))
_USER = (
    Param("id", str, nullable=True),
    Param("name", str, nullable=True),
    Param("domain", _REFERENCE, nullable=True),
)
LOGIN = Body(
    "auth",
    Param(
        "identity",
        (
            Param("methods", list[str], required=True),
            Param("password", (Param("user", (*_USER, Param("password", str, required=True)), required=True),)),
            Param("totp", (Param("user", (*_USER, Param("passcode", str, required=True)), required=True),)),
            Param("token", (Param("id", str, required=True),)),
            Param("oauth1", dict[str, Any]),  # says nothing: the request is signed
            Param(
                "application_credential",
                (
                    Param("id", str, nullable=True),
                    Param("name", str, nullable=True),
                    Param("user", _USER, nullable=True),
                    Param("secret", str, required=True),
                ),
            ),
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
    if claims.identity_provider and claims.user_id == user.id:
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
    token |= _delegation(verified.mandate)
    if claims.scope != "unscoped":
        token["roles"] = verified.roles
        if catalog is not None:
            token["catalog"] = catalog
    return token


def _delegation(mandate: Mandate) -> dict[str, Any]:
    """What a token was gained with, if not the user's own login."""
    trust, credential = mandate.trust, mandate.application_credential
    if trust is not None:
        return {
            "OS-TRUST:trust": {
                "id": trust.id,
                "trustor_user": {"id": trust.trustor_user_id},
                "trustee_user": {"id": trust.trustee_user_id},
                "impersonation": trust.impersonation,
            }
        }
    if credential is not None:
        shown = {"id": credential.id, "name": credential.name, "restricted": not credential.unrestricted}
        # Services take an empty list for "nothing is allowed".
        rules = {"access_rules": [RULE.render(rule) for rule in credential.rules]} if credential.rules else {}
        return {"application_credential": shown | rules}
    access = mandate.access_token
    if access is not None:
        return {"OS-OAUTH1": {"access_token_id": access.id, "consumer_id": access.consumer_id}}
    return {}


def shown_receipt(insufficient: InsufficientMethods) -> dict[str, Any]:
    """The body of a response that asks for more methods."""
    receipt, user = insufficient.receipt, insufficient.user
    return {
        "receipt": {
            "methods": receipt.methods,
            "user": {"domain": _named(insufficient.domain), "id": user.id, "name": user.name},
            "issued_at": iso_micro_z(receipt.issued_at),
            "expires_at": iso_micro_z(receipt.expires_at),
        },
        "required_auth_methods": insufficient.rules,
    }


def _named(project: Project) -> dict[str, str]:
    return {"id": project.id, "name": project.name}
