"""The token format: a MessagePack array, encrypted with Fernet.

A token names its user, its scope and the epochs of both (see `models`), and when it ends; everything else is read from
the database when it is verified. The first element says how to read the rest, so that further kinds of token
(trusts, application credentials, federated users) can be added beside it.
"""

import base64
import os
import re
from typing import Literal

import msgspec

from pileus.identity.keys import KeyRepository
from pileus.kernel.clock import MICROSECONDS

_FORMAT = 1
_METHODS = ("external", "password", "token", "oauth1", "mapped", "application_credential", "totp")
_UUID = re.compile("[0-9a-f]{32}")
_IS_UUID = b"\0"
_IS_TEXT = b"\1"
_MAX_TOKEN = 4096

ScopeKind = Literal["unscoped", "project", "domain", "system"]
_SCOPES: tuple[ScopeKind, ...] = ("unscoped", "project", "domain", "system")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says. Times in microseconds, whole seconds. `scope_id` is empty for unscoped and system.

    `audit_ids`: the token's own, and that of the first token of its chain if it came from another token.
    `identity_provider` and `protocol`: through which a federated user logged in; empty for all others.
    """

    user_id: str
    user_epoch: int
    methods: tuple[str, ...]
    scope: ScopeKind = "unscoped"
    scope_id: str = ""
    scope_epoch: int = 0
    audit_ids: tuple[str, ...]
    issued_at: int
    expires_at: int
    identity_provider: str = ""
    protocol: str = ""


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    user: bytes
    user_epoch: int
    methods: int
    scope: int
    scope_id: bytes
    scope_epoch: int
    audit_ids: tuple[bytes, ...]
    issued_at: int
    expires_at: int
    identity_provider: str = ""
    protocol: str = ""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def new_audit_id() -> str:
    """An identifier that may be logged in a token's place."""
    return _audit_text(os.urandom(16))


def seal(keys: KeyRepository, claims: Claims) -> str:
    """The token that carries the claims."""
    packed = _Packed(
        _FORMAT,
        _pack_id(claims.user_id),
        claims.user_epoch,
        sum(1 << _METHODS.index(method) for method in claims.methods),
        _SCOPES.index(claims.scope),
        _pack_id(claims.scope_id),
        claims.scope_epoch,
        tuple(base64.urlsafe_b64decode(f"{audit_id}==") for audit_id in claims.audit_ids),
        claims.issued_at // MICROSECONDS,
        claims.expires_at // MICROSECONDS,
        claims.identity_provider,
        claims.protocol,
    )
    text = keys.encrypt(_encoder.encode(packed), claims.issued_at // MICROSECONDS)
    return text.rstrip(b"=").decode()


def unseal(keys: KeyRepository, token: str) -> Claims | None:
    """The claims of a token, verified to be ours; None if it is not. Whether it has ended is not looked at."""
    if len(token) > _MAX_TOKEN or not token.isascii():
        return None
    data = keys.decrypt((token + "=" * (-len(token) % 4)).encode())
    if data is None:
        return None
    try:
        packed = _decoder.decode(data)
    except msgspec.MsgspecError:
        return None
    if packed.format != _FORMAT:
        return None
    return Claims(
        user_id=_unpack_id(packed.user),
        user_epoch=packed.user_epoch,
        methods=tuple(method for bit, method in enumerate(_METHODS) if packed.methods >> bit & 1),
        scope=_SCOPES[packed.scope],
        scope_id=_unpack_id(packed.scope_id),
        scope_epoch=packed.scope_epoch,
        audit_ids=tuple(_audit_text(audit_id) for audit_id in packed.audit_ids),
        issued_at=packed.issued_at * MICROSECONDS,
        expires_at=packed.expires_at * MICROSECONDS,
        identity_provider=packed.identity_provider,
        protocol=packed.protocol,
    )


def _pack_id(text: str) -> bytes:
    """A UUID takes 17 bytes instead of 33; the first byte tells it from other ids ("default")."""
    if _UUID.fullmatch(text):
        return _IS_UUID + bytes.fromhex(text)
    return _IS_TEXT + text.encode()


def _unpack_id(packed: bytes) -> str:
    return packed[1:].hex() if packed[:1] == _IS_UUID else packed[1:].decode()


def _audit_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
