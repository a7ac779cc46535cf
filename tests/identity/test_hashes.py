"""Hashes as Keystone's database has them, made by the reference implementations."""

import base64
import hashlib
import hmac
import shutil
import subprocess

import bcrypt
import pytest

from pileus.identity import hashes
from tests.real_things import require

PASSWORDS = ("secret", "", "a" * 100, "pässwörd ✓")


def ab64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=").replace("+", ".")


def bcrypt_hash(password: bytes) -> str:
    return bcrypt.hashpw(password[:72], bcrypt.gensalt(4)).decode()


def bcrypt_sha256_hash(password: bytes) -> str:
    salt = bcrypt.gensalt(4)
    short = base64.b64encode(hmac.digest(salt[-22:], password, "sha256"))
    return f"$bcrypt-sha256$v=2,t=2b,r=4${salt[-22:].decode()}${bcrypt.hashpw(short, salt).decode()[-31:]}"


def scrypt_hash(password: bytes) -> str:
    made = hashlib.scrypt(password, salt=b"0123456789abcdef", n=1 << 10, r=8, p=1, dklen=32)
    return f"$scrypt$ln=10,r=8,p=1${ab64(b'0123456789abcdef')}${ab64(made)}"


def pbkdf2_hash(password: bytes) -> str:
    return f"$pbkdf2-sha512$1000${ab64(b'salt')}${ab64(hashlib.pbkdf2_hmac('sha512', password, b'salt', 1000))}"


MAKERS = {
    "bcrypt": bcrypt_hash,
    "bcrypt_sha256": bcrypt_sha256_hash,
    "scrypt": scrypt_hash,
    "pbkdf2_sha512": pbkdf2_hash,
}


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("kind", MAKERS)
def test_forms_of_keystone(kind: str, password: str) -> None:
    stored = MAKERS[kind](password.encode())
    assert hashes.is_foreign(stored)
    assert hashes.verify(stored, password)
    assert not hashes.verify(stored, f"x{password}")


def test_a_published_example() -> None:
    """Of passlib's documentation."""
    stored = "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2"
    assert hashes.verify(stored, "password")


@pytest.mark.parametrize("password", PASSWORDS[:1] + PASSWORDS[2:])
@pytest.mark.parametrize("salt", ["abc", "0123456789abcdef"])
def test_sha512_crypt_as_openssl_makes_it(password: str, salt: str) -> None:
    require("openssl")
    command = [shutil.which("openssl") or "openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    made = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    assert hashes.verify(made.stdout.strip(), password)
    assert not hashes.verify(made.stdout.strip(), f"{password} ")


def test_sha512_crypt_with_rounds() -> None:
    """An example of the specification."""
    stored = (
        "$6$rounds=10000$saltstringsaltst$"
        "OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."
    )
    assert hashes.verify(stored, "Hello world!")


@pytest.mark.parametrize(
    "stored",
    [
        "$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$AAAA",
        "plain",
        "",
        "$scrypt$ln=40,r=8,p=1$AAAA$AAAA",
        "$scrypt$ln=14,r=4096,p=4096$AAAA$AAAA",
        "$pbkdf2-sha512$99999999999$AAAA$AAAA",
        "$6$rounds=999999999$salt$" + "." * 86,
        "$6$salt$short",
        "$2b$31$" + "." * 53,
        "$bcrypt-sha256$v=1,t=2b,r=12$salt$digest",
        "$pbkdf2-sha512$",
    ],
)
def test_what_is_no_such_hash_or_costs_too_much_is_refused(stored: str) -> None:
    with pytest.raises(hashes.UnknownHashError):
        hashes.verify(stored, "secret")
