"""EC2 credentials: what is in the blob of a credential of type ec2."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.identity.domain import Credential, Thing
from pileus.kernel.auth import Actor
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.ids import new_hex

EC2 = "ec2"
BOUNDS = ("trust_id", "app_cred_id", "access_token_id")
"""Keys that bind a credential to what its maker's token was gained with."""


class Ec2Credential(Thing, frozen=True, kw_only=True):
    """An access key and its secret, for a user and project. `trust_id`, `app_cred_id`: what limits their tokens."""

    user_id: str
    project_id: str
    access: str
    secret: str
    trust_id: str | None = None
    app_cred_id: str | None = None


def credential_id(access: str) -> str:
    """The id of the credential with this access key."""
    return hashlib.sha256(access.encode()).hexdigest()


def content(blob: str) -> dict[str, Any]:
    """What a blob holds. BadRequest if it is no JSON object with an access key."""
    try:
        found = msgspec.json.decode(blob)
    except (msgspec.MsgspecError, RecursionError) as err:
        raise BadRequest("The blob of an ec2 credential must be a JSON object.") from err
    if not isinstance(found, dict):
        raise BadRequest("The blob of an ec2 credential must be a JSON object.")
    if not isinstance(found.get("access"), str) or not found["access"]:
        raise BadRequest("The blob of an ec2 credential must hold an access key.")
    return found


def opened(credential: Credential) -> Ec2Credential | None:
    """The EC2 credential; None for what is none, or cannot be used as one."""
    if credential.type != EC2 or credential.project_id is None:
        return None
    try:
        found = content(credential.blob)
    except BadRequest:
        return None
    texts = [found.get(key) for key in ("secret", *BOUNDS)]
    if not isinstance(texts[0], str) or any(text is not None and not isinstance(text, str) for text in texts):
        return None
    if found.get("access_token_id") is not None:  # from a cloud that had OAuth1: nothing here can honour the limit
        return None
    return Ec2Credential(
        id=credential.id,
        user_id=credential.user_id,
        project_id=credential.project_id,
        access=found["access"],
        secret=texts[0],
        trust_id=found.get("trust_id"),
        app_cred_id=found.get("app_cred_id"),
    )


def new_blob() -> str:
    """The blob of a new credential with random keys."""
    return _text({"access": new_hex(), "secret": new_hex(), "trust_id": None})


def bound_by(actor: Actor) -> dict[str, str]:
    """What binds the credentials that a caller makes to what its own token was gained with."""
    bounds = {"trust_id": actor.trust_id, "app_cred_id": actor.application_credential_id}
    return {key: value for key, value in bounds.items() if value is not None}


def bounds_in(blob: str) -> dict[str, Any]:
    """What binds the credential with this blob; nothing for a blob of another kind."""
    try:
        found = content(blob)
    except BadRequest:
        return {}
    return {key: found[key] for key in BOUNDS if found.get(key) is not None}


def bind(blob: str, bounds: Mapping[str, Any]) -> str:
    """The blob with these bounds. Forbidden if it names others: they are not for the caller to choose."""
    found = content(blob)
    if any(found.get(key) not in (None, bounds.get(key)) for key in BOUNDS):
        raise Forbidden(f"A credential's {', '.join(BOUNDS)} follow from the token that it is made with.")
    return _text(found | dict(bounds)) if bounds else blob


def _text(found: Mapping[str, Any]) -> str:
    return msgspec.json.encode(found).decode()
