"""Signatures: every method that images may name, and everything that must not pass for one."""

import datetime
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from tests.signing import Signer, make_signer

from pileus.kernel.signature import (
    HASH_METHOD,
    HASH_METHODS,
    KEY_TYPE,
    PROPERTIES,
    SIGNATURE,
    SignatureInvalid,
    Verifier,
    is_signed,
    signature_of,
)

DATA = b"what was signed" * 5000
NOW = int(datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC).timestamp() * 1_000_000)


@dataclass
class Case:
    signer: Signer
    method: str = "SHA-256"

    def verify(self, data: bytes = DATA, *, now: int = NOW, trusted: tuple[str, ...] = (), **changed: str) -> None:
        properties = {**self.signer.properties(DATA, "an-id", self.method), **changed}
        verifier = Verifier(signature_of(properties, self.signer.pem, trusted), now)
        for start in range(0, len(data), 4096):
            verifier.update(data[start : start + 4096])
        verifier.verify()


KEYS: dict[str, Any] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "dsa": lambda: dsa.generate_private_key(2048),
    "secp521r1": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp384r1": lambda: ec.generate_private_key(ec.SECP384R1()),
}


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


@pytest.mark.parametrize("key", list(KEYS))
def test_every_kind_of_key(key: str) -> None:
    case = Case(make_signer(KEYS[key]()))
    case.verify()
    with pytest.raises(SignatureInvalid, match="does not belong"):
        case.verify(DATA + b"x")


@pytest.mark.parametrize("method", list(HASH_METHODS))
def test_every_hash(signer: Signer, method: str) -> None:
    Case(signer, method).verify()
    with pytest.raises(SignatureInvalid):
        Case(signer, method).verify(DATA[:-1])


def test_what_must_not_pass(signer: Signer) -> None:
    case = Case(signer)
    other = make_signer()
    with pytest.raises(SignatureInvalid, match="does not belong"):
        case.verify(**{SIGNATURE: other.sign(DATA)})
    with pytest.raises(SignatureInvalid, match="base64"):
        case.verify(**{SIGNATURE: "no base64!"})
    with pytest.raises(SignatureInvalid, match="must be one of"):
        case.verify(**{HASH_METHOD: "MD5"})
    with pytest.raises(SignatureInvalid, match="must be one of"):
        case.verify(**{KEY_TYPE: "ROT13"})
    with pytest.raises(SignatureInvalid, match="ECC_SECP384R1, not RSA-PSS"):
        case.verify(**{KEY_TYPE: "RSA-PSS"})
    with pytest.raises(SignatureInvalid, match="cannot be read"):
        Verifier(signature_of(signer.properties(DATA, "an-id"), "no certificate"), NOW)


@pytest.mark.parametrize("name", PROPERTIES)
def test_an_incomplete_claim_is_no_claim_less(signer: Signer, name: str) -> None:
    """Taking one property away must not make a signed image an unsigned one."""
    properties = signer.properties(DATA, "an-id")
    del properties[name]
    assert is_signed(properties)
    with pytest.raises(SignatureInvalid, match=name):
        signature_of(properties, signer.pem)


def test_an_expired_certificate() -> None:
    case = Case(make_signer(end=datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)))
    with pytest.raises(SignatureInvalid, match="valid from"):
        case.verify()


def test_the_chain_of_those_who_vouch() -> None:
    root = make_signer(name="root", ca=True)
    middle = make_signer(name="middle", issuer=root, ca=True)
    case = Case(make_signer(issuer=middle))
    case.verify(trusted=(middle.pem,))
    case.verify(trusted=(root.pem, middle.pem))
    case.verify(trusted=(case.signer.pem,))
    with pytest.raises(SignatureInvalid, match="not issued by a trusted one"):
        case.verify(trusted=(root.pem,))


def test_who_is_no_authority_vouches_for_nobody() -> None:
    end_user = make_signer(name="end user")
    case = Case(make_signer(issuer=end_user))
    with pytest.raises(SignatureInvalid, match="not issued by a trusted one"):
        case.verify(trusted=(end_user.pem,))


def test_an_impostor_with_an_authoritys_name() -> None:
    root, impostor = make_signer(name="root", ca=True), make_signer(name="root", ca=True)
    case = Case(make_signer(issuer=impostor))
    with pytest.raises(SignatureInvalid, match="not issued by a trusted one"):
        case.verify(trusted=(root.pem,))
