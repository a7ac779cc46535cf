"""Signatures of images: what an image's properties say of one, and whether data bears it out.

Used where an image arrives (the image service) and where it is used (the host agent). The properties are those that
Glance and Nova verify: `img_signature` (base64), `img_signature_hash_method`, `img_signature_key_type` and
`img_signature_certificate_uuid`. The certificate itself is kept by the cloud, under that id.
"""

import base64
import binascii
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cryptography import x509

SIGNATURE = "img_signature"
HASH_METHOD = "img_signature_hash_method"
KEY_TYPE = "img_signature_key_type"
CERTIFICATE = "img_signature_certificate_uuid"
PROPERTIES = (SIGNATURE, HASH_METHOD, KEY_TYPE, CERTIFICATE)

HASH_METHODS = {"SHA-224": "sha224", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
CURVES = (
    "SECT571K1", "SECT409K1", "SECT571R1", "SECT409R1", "SECP521R1", "SECP384R1",
)  # fmt: skip
KEY_TYPES = ("RSA-PSS", "DSA", *(f"ECC_{curve}" for curve in CURVES))
LONGEST_CHAIN = 8


class SignatureInvalid(Exception):
    """The signature, or what is said of it, does not hold. The message says why."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A signature and the certificate (PEM) of its signer. `trusted`: certificates that vouch for the signer's."""

    signature: str
    hash_method: str
    key_type: str
    certificate: str
    trusted: tuple[str, ...] = ()

    def identity(self) -> str:
        """A short name of exactly this signature by exactly this signer."""
        told = "\n".join((self.signature, self.hash_method, self.key_type, self.certificate, *self.trusted))
        return hashlib.sha256(told.encode()).hexdigest()


def is_signed(properties: Mapping[str, str]) -> bool:
    """Whether an image claims to be signed. One that has only some of the properties claims it too."""
    return any(name in properties for name in PROPERTIES)


def certificate_id(properties: Mapping[str, str]) -> str:
    """Which certificate a signed image names. SignatureInvalid if its properties are incomplete."""
    missing = [name for name in PROPERTIES if not properties.get(name)]
    if missing:
        raise SignatureInvalid(f"the image is signed, but lacks the properties {', '.join(missing)}")
    return properties[CERTIFICATE]


def signature_of(properties: Mapping[str, str], certificate: str, trusted: Sequence[str] = ()) -> Signature:
    """The signature that an image claims, with its certificate. SignatureInvalid if no such signature can be."""
    certificate_id(properties)
    if properties[HASH_METHOD] not in HASH_METHODS:
        raise SignatureInvalid(f"{HASH_METHOD} must be one of {', '.join(HASH_METHODS)}")
    if properties[KEY_TYPE] not in KEY_TYPES:
        raise SignatureInvalid(f"{KEY_TYPE} must be one of {', '.join(KEY_TYPES)}")
    return Signature(
        signature=properties[SIGNATURE],
        hash_method=properties[HASH_METHOD],
        key_type=properties[KEY_TYPE],
        certificate=certificate,
        trusted=tuple(trusted),
    )


class Verifier:
    """Takes data in as it passes and judges it at its end."""

    def __init__(self, signature: Signature, now: int) -> None:
        """`now`: microseconds, for the certificates' validity. SignatureInvalid if the signer is not to be trusted."""
        self._signature = signature
        self._key = _trusted_key(signature, now)
        self._digest = hashlib.new(HASH_METHODS[signature.hash_method])
        try:
            self._bytes = base64.b64decode(signature.signature, validate=True)
        except binascii.Error as err:
            raise SignatureInvalid(f"{SIGNATURE} is not valid base64") from err

    def update(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._digest.update(data)

    def verify(self) -> None:
        """SignatureInvalid if the bytes are not those that were signed."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415 - only when signed

        try:
            self._verify()
        except InvalidSignature as err:
            raise SignatureInvalid("the signature does not belong to this data") from err
        except (UnsupportedAlgorithm, ValueError) as err:
            raise SignatureInvalid(f"the signature cannot be verified: {err}") from err

    def _verify(self) -> None:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec, padding, utils  # noqa: PLC0415

        algorithm: hashes.HashAlgorithm = getattr(hashes, HASH_METHODS[self._signature.hash_method].upper())()
        prehashed = utils.Prehashed(algorithm)
        digest = self._digest.digest()
        if self._signature.key_type == "RSA-PSS":
            scheme = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.AUTO)
            self._key.verify(self._bytes, digest, scheme, prehashed)
        elif self._signature.key_type == "DSA":
            self._key.verify(self._bytes, digest, prehashed)
        else:
            self._key.verify(self._bytes, digest, ec.ECDSA(prehashed))


def _trusted_key(signature: Signature, now: int) -> Any:
    """The signer's public key, of the type that the image claims."""
    certificate = load_certificate(signature.certificate)
    moment = datetime.datetime.fromtimestamp(now / 1_000_000, datetime.UTC)
    _check_dates(certificate, moment)
    if signature.trusted:
        _check_chain(certificate, [load_certificate(text) for text in signature.trusted], moment)
    key = certificate.public_key()
    if _type_of(key) != signature.key_type:
        raise SignatureInvalid(f"the certificate's key is {_type_of(key)}, not {signature.key_type}")
    return key


def _type_of(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa  # noqa: PLC0415

    if isinstance(key, rsa.RSAPublicKey):
        return "RSA-PSS"
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECC_{key.curve.name.upper()}"
    return type(key).__name__


def load_certificate(text: str) -> "x509.Certificate":
    """A certificate from PEM. SignatureInvalid."""
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as err:
        raise SignatureInvalid(f"the certificate cannot be read: {err}") from err


def _check_dates(certificate: "x509.Certificate", moment: datetime.datetime) -> None:
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise SignatureInvalid(
            f"the certificate {certificate.subject.rfc4514_string()} is valid from "
            f"{certificate.not_valid_before_utc:%F %T} to {certificate.not_valid_after_utc:%F %T} UTC only"
        )


def _check_chain(
    certificate: "x509.Certificate", trusted: "Sequence[x509.Certificate]", moment: datetime.datetime
) -> None:
    """Follow the issuers among the trusted certificates; one that is trusted itself needs no issuer."""
    for _ in range(LONGEST_CHAIN):
        if certificate in trusted:
            return
        issuer = next((other for other in trusted if _issued(other, certificate)), None)
        if issuer is None:
            break
        _check_dates(issuer, moment)
        certificate = issuer
    raise SignatureInvalid("the signer's certificate was not issued by a trusted one")


def _issued(issuer: "x509.Certificate", certificate: "x509.Certificate") -> bool:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        certificate.verify_directly_issued_by(issuer)
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return constraints.ca
