"""Signers of images for tests: keys, certificates and signatures made on the spot."""

import base64
import datetime
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

from pileus.kernel.signature import CERTIFICATE, HASH_METHOD, KEY_TYPE, SIGNATURE

BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-224": hashes.SHA224(),
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}


@dataclass(frozen=True)
class Signer:
    """A key with its certificate."""

    key: Any
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, data: bytes, method: str = "SHA-256") -> str:
        algorithm = HASHES[method]
        if isinstance(self.key, rsa.RSAPrivateKey):
            scheme = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=padding.PSS.MAX_LENGTH)
            made = self.key.sign(data, scheme, algorithm)
        elif isinstance(self.key, dsa.DSAPrivateKey):
            made = self.key.sign(data, algorithm)
        else:
            made = self.key.sign(data, ec.ECDSA(algorithm))
        return base64.b64encode(made).decode()

    def properties(self, data: bytes, certificate: str, method: str = "SHA-256") -> dict[str, str]:
        """An image's properties for this data; `certificate` is the id under which the cloud keeps it."""
        return {
            SIGNATURE: self.sign(data, method),
            HASH_METHOD: method,
            KEY_TYPE: self.key_type,
            CERTIFICATE: certificate,
        }

    @property
    def key_type(self) -> str:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return "RSA-PSS"
        if isinstance(self.key, dsa.DSAPrivateKey):
            return "DSA"
        return f"ECC_{self.key.curve.name.upper()}"


def make_signer(
    key: Any = None, *, name: str = "signer", issuer: Signer | None = None, ca: bool = False, end: Any = END
) -> Signer:
    """A signer; vouched for by itself, or by `issuer`."""
    key = key or ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer.key if issuer else key, hashes.SHA256())
    )
    return Signer(key, certificate)
