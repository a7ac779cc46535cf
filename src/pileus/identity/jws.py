"""The other token format: JSON Web Signatures with ES256 (RFC 7515, RFC 7518), under Keystone's names of the claims.

Tokens are signed and not encrypted: whoever has one can read whom it is for, and every machine that has the public keys
can verify it, while only those with the private key can make one. The private repository holds `private.pem`; the
public one any number of keys named `*.pem`, so that tokens of the key before are still verified.
"""

import base64
import hashlib
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pileus.identity.fernet import Claims
from pileus.identity.followed import Followed
from pileus.identity.keys import NoKeysError, write_key
from pileus.kernel.clock import MICROSECONDS

PRIVATE = "private.pem"
_ALGORITHM = "ES256"
_COORDINATE = 32
_MAX_TOKEN = 8192
_PREFIX = "openstack_"
_NAMES: Mapping[str, str] = {"user_id": "sub", "issued_at": "iat", "expires_at": "exp"}
_SECONDS = frozenset({"issued_at", "expires_at"})
_OPTIONAL = {field.name: field.default for field in msgspec.structs.fields(Claims) if not field.required}


class _Header(msgspec.Struct, frozen=True):
    alg: str
    typ: str = "JWT"
    kid: str = ""


class JwsTokens:
    """Tokens signed with the private key. A token format. Thread-safe."""

    def __init__(self, private_keys: Path, public_keys: Path) -> None:
        self._signer = Followed((private_keys,), lambda: _signer(private_keys))
        self._verifiers = Followed((public_keys,), lambda: _verifiers(public_keys))

    def seal(self, claims: Claims) -> str:
        """The token that carries the claims. NoKeysError without a private key."""
        kid, key = self._signer.get()
        header = _base64(msgspec.json.encode(_Header(_ALGORITHM, kid=kid)))
        signed = f"{header}.{_base64(msgspec.json.encode(_payload(claims)))}"
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(r.to_bytes(_COORDINATE, 'big') + s.to_bytes(_COORDINATE, 'big'))}"

    def unseal(self, token: str) -> Claims | None:
        """The claims of a token, verified to be ours; None if it is not. Whether it has ended is not looked at."""
        parts = token.split(".")
        if len(token) > _MAX_TOKEN or not token.isascii() or len(parts) != 3:
            return None
        try:
            header = msgspec.json.decode(_bytes(parts[0]), type=_Header)
            signature = _bytes(parts[2])
            if header.alg != _ALGORITHM or len(signature) != 2 * _COORDINATE:
                return None
            if not self._is_ours(header.kid, f"{parts[0]}.{parts[1]}".encode(), signature):
                return None
            return _claims(msgspec.json.decode(_bytes(parts[1])))
        except (ValueError, msgspec.MsgspecError):
            return None

    def _is_ours(self, kid: str, signed: bytes, signature: bytes) -> bool:
        keys = self._verifiers.get()
        r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
        der = encode_dss_signature(r, s)
        for key in (keys[kid],) if kid in keys else keys.values():
            try:
                key.verify(der, signed, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return True
        return False


def create_keypair(private_keys: Path, public_keys: Path, lifetime: float | None = None) -> str:
    """Make a key pair, which signs from now on; the new key's id.

    The public key is in place first, so that whoever sees a token of the new key can verify it. With a `lifetime` in
    seconds, public keys are removed that have not signed for so long.
    """
    for directory in (private_keys, public_keys):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    kid = _key_id(key.public_key())
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_key(public_keys / f"{kid}.pem", encoded, mode=0o644)
    before = private_keys / PRIVATE
    superseded = _key_id(_private_key(before).public_key()) if before.exists() else None
    write_key(
        before,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    if lifetime is not None:
        _prune(public_keys, {kid, superseded}, lifetime)
    return kid


def has_keypair(private_keys: Path) -> bool:
    """Whether there is a key that signs."""
    return (private_keys / PRIVATE).exists()


def _prune(public_keys: Path, used: set[str | None], lifetime: float) -> None:
    """A key has signed at most until the next one was made."""
    made = sorted((path.stat().st_mtime, path) for path in public_keys.glob("*.pem"))
    for (_, path), (superseded_at, _) in pairwise(made):
        if path.stem not in used and superseded_at + lifetime < time.time():
            path.unlink()


def _signer(directory: Path) -> tuple[str, ec.EllipticCurvePrivateKey]:
    path = directory / PRIVATE
    if not path.exists():
        raise NoKeysError(f"there is no key that signs tokens: {path} (`pileus identity create-jws-keypair` makes one)")
    key = _private_key(path)
    return _key_id(key.public_key()), key


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NoKeysError(f"{path} is not a private key for ES256")
    return key


def _verifiers(directory: Path) -> dict[str, ec.EllipticCurvePublicKey]:
    keys = {}
    for path in sorted(directory.glob("*.pem")):
        key = serialization.load_pem_public_key(path.read_bytes())
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise NoKeysError(f"{path} is not a public key for ES256")
        keys[_key_id(key)] = key
    return keys


def _key_id(key: ec.EllipticCurvePublicKey) -> str:
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()[:16]


def _payload(claims: Claims) -> dict[str, Any]:
    """What is as it mostly is, is left out."""
    payload: dict[str, Any] = {}
    for name in Claims.__struct_fields__:
        value = getattr(claims, name)
        if name not in _OPTIONAL or value != _OPTIONAL[name]:
            payload[_NAMES.get(name, f"{_PREFIX}{name}")] = value // MICROSECONDS if name in _SECONDS else value
    if claims.scope in ("project", "domain"):  # as Keystone names it
        del payload[f"{_PREFIX}scope"], payload[f"{_PREFIX}scope_id"]
        payload[f"{_PREFIX}{claims.scope}_id"] = claims.scope_id
    return payload


def _claims(payload: dict[str, Any]) -> Claims:
    """The claims. ValidationError if the payload is not of ours."""
    for kind in ("project", "domain"):
        if f"{_PREFIX}{kind}_id" in payload:
            payload = {**payload, f"{_PREFIX}scope": kind, f"{_PREFIX}scope_id": payload[f"{_PREFIX}{kind}_id"]}
    values = {
        name: payload[key] * (MICROSECONDS if name in _SECONDS else 1)
        for name in Claims.__struct_fields__
        if (key := _NAMES.get(name, f"{_PREFIX}{name}")) in payload
    }
    return msgspec.convert(values, Claims)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
