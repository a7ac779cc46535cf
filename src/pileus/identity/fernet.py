"""The token format: a MessagePack array, encrypted with Fernet.

A token names its user, its scope and the epochs of both (see `models`), and when it ends; everything else is read from
the database when it is verified. The first element says how to read the rest, so that further kinds of token
(federated users) can be added beside it. A token that was gained through a trust or an application credential names
that too, at the end; the others are none the longer for it.
"""

import base64
import os
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from pileus.identity.keys import KeyRepository
from pileus.kernel.clock import MICROSECONDS

_PLAIN, _DELEGATED = _FORMATS = (1, 2)
_METHODS = ("external", "password", "token", "oauth1", "mapped", "application_credential", "totp", "ec2credential")
_UUID = re.compile("[0-9a-f]{32}")
_IS_UUID = b"\0"
_IS_TEXT = b"\1"
_MAX_TOKEN = 4096

ScopeKind = Literal["unscoped", "project", "domain", "system"]
_SCOPES: tuple[ScopeKind, ...] = ("unscoped", "project", "domain", "system")
DelegationKind = Literal["", "trust", "application_credential", "oauth1"]
_DELEGATIONS: tuple[DelegationKind, ...] = ("", "trust", "application_credential", "oauth1")


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says. Times in microseconds, whole seconds. `scope_id` is empty for unscoped and system.

    `user_id`: who logged in. `audit_ids`: the token's own, and that of the first token of its chain if it came from
    another token. `identity_provider` and `protocol`: through which a federated user logged in; empty for all others.
    `delegator_epoch`: the epoch of a trust's trustor, as `user_epoch` is that of the user.
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
    delegation: DelegationKind = ""
    delegation_id: str = ""
    delegator_epoch: int = 0


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


class _PackedDelegated(_Packed, array_like=True, frozen=True):
    delegation: int = 0
    delegation_id: bytes = _IS_TEXT
    delegator_epoch: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_PackedDelegated)


def new_audit_id() -> str:
    """An identifier that may be logged in a token's place."""
    return _audit_text(os.urandom(16))


def seal(keys: KeyRepository, claims: Claims) -> str:
    """The token that carries the claims."""
    common = (
        _DELEGATED if claims.delegation else _PLAIN,
        pack_id(claims.user_id),
        claims.user_epoch,
        pack_methods(claims.methods),
        _SCOPES.index(claims.scope),
        pack_id(claims.scope_id),
        claims.scope_epoch,
        tuple(base64.urlsafe_b64decode(f"{audit_id}==") for audit_id in claims.audit_ids),
        claims.issued_at // MICROSECONDS,
        claims.expires_at // MICROSECONDS,
        claims.identity_provider,
        claims.protocol,
    )
    packed = _Packed(*common)
    if claims.delegation:
        kind = _DELEGATIONS.index(claims.delegation)
        packed = _PackedDelegated(*common, kind, pack_id(claims.delegation_id), claims.delegator_epoch)
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
    if packed.format not in _FORMATS:
        return None
    return Claims(
        user_id=unpack_id(packed.user),
        user_epoch=packed.user_epoch,
        methods=unpack_methods(packed.methods),
        scope=_SCOPES[packed.scope],
        scope_id=unpack_id(packed.scope_id),
        scope_epoch=packed.scope_epoch,
        audit_ids=tuple(_audit_text(audit_id) for audit_id in packed.audit_ids),
        issued_at=packed.issued_at * MICROSECONDS,
        expires_at=packed.expires_at * MICROSECONDS,
        identity_provider=packed.identity_provider,
        protocol=packed.protocol,
        delegation=_DELEGATIONS[packed.delegation],
        delegation_id=unpack_id(packed.delegation_id),
        delegator_epoch=packed.delegator_epoch,
    )


def pack_methods(methods: Iterable[str]) -> int:
    """Methods as the bits of a number."""
    return sum(1 << _METHODS.index(method) for method in methods)


def unpack_methods(packed: int) -> tuple[str, ...]:
    """The methods whose bits are set."""
    return tuple(method for bit, method in enumerate(_METHODS) if packed >> bit & 1)


def pack_id(text: str) -> bytes:
    """A UUID takes 17 bytes instead of 33; the first byte tells it from other ids ("default")."""
    if _UUID.fullmatch(text):
        return _IS_UUID + bytes.fromhex(text)
    return _IS_TEXT + text.encode()


def unpack_id(packed: bytes) -> str:
    """The id that was packed."""
    return packed[1:].hex() if packed[:1] == _IS_UUID else packed[1:].decode()


def _audit_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
