"""Request and response fields of EC2 credentials and signatures."""

from typing import Any

from pileus.identity.ec2.domain import Ec2Credential
from pileus.identity.ec2.signatures import SignedRequest
from pileus.identity.rest import Id
from pileus.kernel.errors import Unauthorized
from pileus.kernel.fields import UNSET, Body, Field, Param, View, given

CREATE = Body(None, Param("tenant_id", Id, required=True), extra=True, strict=True)

_SIGNED = (
    Param("access", str),
    Param("signature", str),
    Param("token", str),
    Param("host", str),
    Param("verb", str),
    Param("path", str),
    Param("params", dict[str, str | int | float | bool]),
    Param("headers", dict[str, str]),
    Param("body_hash", str, nullable=True),
)
SIGNED = Body(
    None,
    *(Param(name, _SIGNED, nullable=True) for name in ("credentials", "credential", "ec2Credentials")),
    extra=True,
    strict=True,
)
"""Under any of the names that Keystone takes."""


def _sent(body: Any) -> Any:
    sent = given(body.credentials) or given(body.credential) or given(body.ec2Credentials)
    if sent is None or UNSET in (sent.access, sent.signature):
        raise Unauthorized("EC2 signature not supplied.")
    return sent


def signed_request(body: Any) -> SignedRequest:
    """The signed request in the body of POST /ec2tokens. Unauthorized if there is none."""
    sent = _sent(body)
    return SignedRequest(
        access=sent.access,
        signature=sent.signature,
        host=given(sent.host, ""),
        verb=given(sent.verb, ""),
        path=given(sent.path, ""),
        params={name: str(value) for name, value in given(sent.params, {}).items()},
        headers=given(sent.headers, {}),
        body_hash=given(sent.body_hash) or "",
    )


def signed_text(body: Any) -> tuple[str, str, str]:
    """Access key, signed text in base64 and signature in the body of POST /s3tokens. Unauthorized if there is none."""
    sent = _sent(body)
    if sent.token is UNSET:
        raise Unauthorized("EC2 signature not supplied.")
    return sent.access, sent.token, sent.signature


def _field(name: str, attribute: str) -> Field:
    def read(credential: Ec2Credential) -> Any:
        return getattr(credential, attribute)

    return Field(name, read)


EC2_CREDENTIAL = View(
    _field("access", "access"),
    _field("secret", "secret"),
    _field("user_id", "user_id"),
    _field("tenant_id", "project_id"),
    _field("trust_id", "trust_id"),
)
