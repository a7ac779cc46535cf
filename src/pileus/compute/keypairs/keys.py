"""Key material: reading what callers import, and generating pairs for old clients.

Fingerprints are what Nova shows: MD5 of an SSH key's blob, SHA-1 of a certificate's DER form, both with colons. They
identify, and protect nothing.
"""

import base64
import binascii
import datetime
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pileus.compute.keypairs.domain import SSH, X509, KeyMaterial
from pileus.kernel.errors import BadRequest

KEY_BITS = 2048
_CERTIFICATE_LIFE = datetime.timedelta(days=3650)
_USER_PRINCIPAL_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")  # by which Windows finds the account
_UTF8_STRING = 0x0C


def imported(kind: str, public_key: str) -> KeyMaterial:
    """What a caller brings. BadRequest unless it is one whole public key of its kind."""
    text = public_key.strip()
    fingerprint = _certificate_fingerprint(text) if kind == X509 else _ssh_fingerprint(text)
    return KeyMaterial(kind, text, fingerprint)


def generated(kind: str, user_id: str) -> KeyMaterial:
    """A new pair: an RSA key of KEY_BITS bits, for x509 with a certificate that it signed itself."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8 if kind == X509 else serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    if kind == X509:
        certificate = _certificate(key, user_id).public_bytes(serialization.Encoding.PEM).decode()
        return KeyMaterial(X509, certificate, _certificate_fingerprint(certificate), private)
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    return KeyMaterial(SSH, f"{line} Generated-by-Pileus", _ssh_fingerprint(line), private)


def _ssh_fingerprint(text: str) -> str:
    """Of an OpenSSH line. One line only: it is written into the guest's authorized_keys as it is."""
    words = text.split(maxsplit=2)
    if len(words) < 2 or len(text.splitlines()) != 1 or not text.isprintable():
        raise _invalid()
    try:
        serialization.load_ssh_public_key(f"{words[0]} {words[1]}".encode())
        blob = base64.b64decode(words[1], validate=True)
    except (ValueError, UnsupportedAlgorithm, binascii.Error) as err:
        raise _invalid() from err
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def _certificate_fingerprint(text: str) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError as err:
        raise _invalid() from err
    return _colons(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303 - a name, not a proof


def _certificate(key: rsa.RSAPrivateKey, user_id: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    principal = f"{user_id}@localhost".encode()
    encoded = bytes([_UTF8_STRING, len(principal)]) + principal
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _CERTIFICATE_LIFE)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.OtherName(_USER_PRINCIPAL_NAME, encoded)]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _colons(digest: str) -> str:
    return ":".join(digest[position : position + 2] for position in range(0, len(digest), 2))


def _invalid() -> BadRequest:
    return BadRequest("Keypair data is invalid: failed to generate fingerprint")
