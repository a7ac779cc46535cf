"""Password hashes in the forms of Keystone's database, for users who come from one: verified, never made.

The forms are passlib's: `$2b$...` (bcrypt), `$bcrypt-sha256$v=2,t=2b,r=12$salt$digest`, `$scrypt$ln=16,r=8,p=1$...`,
`$pbkdf2-sha512$25000$...` and `$6$...` (SHA-512 crypt, what Keystone made until Queens). A hash that costs far
more than any that Keystone makes is refused: it would keep a processor busy for as long as its author likes.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping

import bcrypt

_BCRYPT_BYTES = 72  # bcrypt looks at no more, and Keystone cut there
_SHA512_BYTES = 64
_MAX_BCRYPT_ROUNDS = 20
_MAX_SCRYPT_LOG = 20
_MAX_SCRYPT_PRODUCT = 64  # of block size and lanes
_MAX_ITERATIONS = 10_000_000


class UnknownHashError(ValueError):
    """The hash has none of the forms, or a cost beyond all reason."""


def is_foreign(stored: str) -> bool:
    """Whether a hash has one of these forms, as far as its beginning tells."""
    return _verifier(stored) is not None


def verify(stored: str, password: str) -> bool:
    """Whether the password is the one that was hashed. UnknownHashError if that cannot be told."""
    verifier = _verifier(stored)
    if verifier is None:
        raise UnknownHashError("not a form that Keystone's database has")
    try:
        return verifier(stored, password.encode("utf-8", "surrogatepass"))
    except (ValueError, KeyError) as err:
        raise UnknownHashError("the hash is damaged") from err


def _verifier(stored: str) -> Callable[[str, bytes], bool] | None:
    parts = stored.split("$", 2)
    return _VERIFIERS.get(parts[1]) if len(parts) == 3 and not parts[0] else None


def _bcrypt(stored: str, password: bytes) -> bool:
    if int(stored.split("$")[2]) > _MAX_BCRYPT_ROUNDS:
        raise UnknownHashError("too many rounds")
    return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored.encode())


def _bcrypt_sha256(stored: str, password: bytes) -> bool:
    """bcrypt of a digest of the password, which has any length: version 2 keys the digest with the salt."""
    _, _, parameters, salt, digest = stored.split("$")
    given = _parameters(parameters)
    if given.get("v") != "2":
        raise UnknownHashError("only version 2 of bcrypt-sha256 is known")
    short = base64.b64encode(hmac.digest(salt.encode(), password, "sha256"))
    return _bcrypt(f"${given['t']}${int(given['r']):02d}${salt}{digest}", short)


def _scrypt(stored: str, password: bytes) -> bool:
    _, _, parameters, salt, digest = stored.split("$")
    given = _parameters(parameters)
    log_n, block, lanes = int(given["ln"]), int(given["r"]), int(given["p"])
    if log_n > _MAX_SCRYPT_LOG or block * lanes > _MAX_SCRYPT_PRODUCT:
        raise UnknownHashError("too costly")
    wanted = _bytes(digest)
    memory = 128 * block * ((1 << log_n) + lanes + 2)
    made = hashlib.scrypt(
        password, salt=_bytes(salt), n=1 << log_n, r=block, p=lanes, maxmem=memory + (1 << 20), dklen=len(wanted)
    )
    return hmac.compare_digest(made, wanted)


def _pbkdf2_sha512(stored: str, password: bytes) -> bool:
    _, _, rounds, salt, digest = stored.split("$")
    if int(rounds) > _MAX_ITERATIONS:
        raise UnknownHashError("too many rounds")
    wanted = _bytes(digest)
    made = hashlib.pbkdf2_hmac("sha512", password, _bytes(salt), int(rounds), len(wanted))
    return hmac.compare_digest(made, wanted)


def _parameters(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(","))


def _bytes(text: str) -> bytes:
    """passlib's base64: without padding, with a dot in place of the plus."""
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)


# --- SHA-512 crypt (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512") -----------------------------------------

_CRYPT = re.compile(r"\$6\$(?:rounds=(\d+)\$)?([^$]{0,16})\$([./0-9A-Za-z]{86})")
_CRYPT_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CRYPT_ROUNDS = 5000
_CRYPT_FEWEST = 1000


def _sha512_crypt(stored: str, password: bytes) -> bool:
    match = _CRYPT.fullmatch(stored)
    if match is None:
        raise UnknownHashError("not a SHA-512 crypt hash")
    rounds = max(_CRYPT_FEWEST, int(match[1])) if match[1] else _CRYPT_ROUNDS
    if rounds > _MAX_ITERATIONS:
        raise UnknownHashError("too many rounds")
    digest = _crypt_digest(password, match[2].encode(), rounds)
    return hmac.compare_digest(_crypt_text(digest), match[3])


def _crypt_digest(password: bytes, salt: bytes, rounds: int) -> bytes:
    """The specification's steps 1 to 21; the names are its letters."""
    b = hashlib.sha512(password + salt + password).digest()
    a = hashlib.sha512(password + salt + _repeated(b, len(password)))
    bits = len(password)
    while bits:
        a.update(b if bits & 1 else password)
        bits >>= 1
    digest = a.digest()
    p = _repeated(hashlib.sha512(password * len(password)).digest(), len(password))
    s = _repeated(hashlib.sha512(salt * (16 + digest[0])).digest(), len(salt))
    for number in range(rounds):
        c = hashlib.sha512(p if number & 1 else digest)
        if number % 3:
            c.update(s)
        if number % 7:
            c.update(p)
        c.update(digest if number & 1 else p)
        digest = c.digest()
    return digest


def _repeated(data: bytes, length: int) -> bytes:
    return (data * (length // len(data) + 1))[:length]


def _crypt_text(digest: bytes) -> str:
    """Step 22: three bytes at a time, 21 apart and each time the next one first, as four characters."""
    text = []
    for first in range(21):
        triple = [first, first + 21, first + 42]
        turn = first % 3
        high, middle, low = (digest[place] for place in triple[turn:] + triple[:turn])
        text.append(_sextets(high << 16 | middle << 8 | low, 4))
    return "".join([*text, _sextets(digest[_SHA512_BYTES - 1], 2)])


def _sextets(value: int, count: int) -> str:
    return "".join(_CRYPT_ALPHABET[value >> 6 * place & 63] for place in range(count))


_VERIFIERS: Mapping[str, Callable[[str, bytes], bool]] = {
    "2": _bcrypt,
    "2a": _bcrypt,
    "2b": _bcrypt,
    "2x": _bcrypt,
    "2y": _bcrypt,
    "bcrypt-sha256": _bcrypt_sha256,
    "scrypt": _scrypt,
    "pbkdf2-sha512": _pbkdf2_sha512,
    "6": _sha512_crypt,
}
