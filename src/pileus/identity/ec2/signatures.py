"""Signatures of requests to EC2 and S3 services, as those services ask about them.

EC2: version 2 with HMAC-SHA256, and version 4. Versions 0 and 1, and HMAC-SHA1, leave too much of a request unsigned
or have been broken, and are refused. S3: version 4, and version 2, which is HMAC-SHA1 by definition.

Everything here is Unauthorized that does not hold; whoever asks learns no more than that.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn
from urllib.parse import quote

import msgspec

from pileus.kernel.clock import MICROSECONDS, parse_iso
from pileus.kernel.errors import Unauthorized

_V4 = "AWS4-HMAC-SHA256"
_V4_END = "aws4_request"
_PARTS_OF_SCOPE = 4
_LINES_OF_V4 = 4
_DATE_LINE = 3


class SignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A signed request to an EC2 service. `signature`: what the caller sent as such."""

    access: str
    signature: str
    host: str = ""
    verb: str = ""
    path: str = ""
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body_hash: str = ""


def _refuse(reason: str = "Invalid EC2 signature.") -> NoReturn:
    raise Unauthorized(reason)


# --- EC2 ----------------------------------------------------------------------------------------------------


def check(request: SignedRequest, secret: str, now: int, window: int) -> None:
    """Unauthorized unless the request was signed with the secret, not further than `window` from `now`."""
    headers = {name.lower().strip(): " ".join(value.split()) for name, value in request.headers.items()}
    if headers.get("authorization", "").startswith(_V4) or request.params.get("X-Amz-Algorithm") == _V4:
        signatures, signed_at = [_version_4(request, headers, secret)], _basic_time(_date_of(request, headers))
    elif request.params.get("SignatureVersion") == "2":
        # Some clients sign the host's name without its port.
        hosts = dict.fromkeys((request.host, request.host.rpartition(":")[0] or request.host))
        signatures = [_version_2(request, host, secret) for host in hosts]
        signed_at = _iso_time(request.params.get("Timestamp", ""))
    else:
        _refuse("The signature version is not supported.")
    if not any(hmac.compare_digest(signature.encode(), request.signature.encode()) for signature in signatures):
        _refuse()
    if abs(now - signed_at) > window:
        _refuse("The signature is from another time.")


def _version_2(request: SignedRequest, host: str, secret: str) -> str:
    params = {name: value for name, value in request.params.items() if name != "Signature"}
    if params.setdefault("SignatureMethod", "HmacSHA256") != "HmacSHA256":
        _refuse("The signature method is not supported.")
    text = "\n".join((request.verb, host, request.path, _query(params)))
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha256)).decode()


def _version_4(request: SignedRequest, headers: Mapping[str, str], secret: str) -> str:
    fields = _authorization(headers["authorization"]) if "authorization" in headers else _of_query(request.params)
    access, *scope = fields.get("Credential", "").split("/")
    names = fields.get("SignedHeaders", "").split(";")
    date = _date_of(request, headers)
    if access != request.access or len(scope) != _PARTS_OF_SCOPE or scope[3] != _V4_END:
        _refuse()
    if scope[2] == "s3":
        _refuse("A signature for S3 is of no use here.")
    if "host" not in names or not headers.keys() >= set(names) or date[:8] != scope[0]:
        _refuse()
    params = {name: value for name, value in request.params.items() if name != "X-Amz-Signature"}
    canonical = "\n".join(
        (
            request.verb.upper(),
            request.path,
            "" if request.verb.upper() == "POST" else _query(params),
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            request.body_hash,
        )
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join((_V4, date, "/".join(scope), digest))
    return hmac.digest(_key(secret, scope), text.encode(), hashlib.sha256).hex()


def _authorization(header: str) -> dict[str, str]:
    fields = (field.strip().partition("=") for field in header.removeprefix(_V4).split(","))
    return {name: value for name, _, value in fields}


def _of_query(params: Mapping[str, str]) -> dict[str, str]:
    return {name: params.get(f"X-Amz-{name}", "") for name in ("Credential", "SignedHeaders")}


def _date_of(request: SignedRequest, headers: Mapping[str, str]) -> str:
    """When a request of version 4 was signed: what it says is a part of what is signed."""
    return headers.get("x-amz-date") or request.params.get("X-Amz-Date") or _refuse("The signature has no time.")


def _query(params: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(params[name], safe='-_.~')}" for name in sorted(params))


def _key(secret: str, scope: list[str]) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


# --- S3 -----------------------------------------------------------------------------------------------------


def check_s3(token: str, signature: str, secret: str, now: int, window: int, age: int) -> None:
    """Unauthorized unless a text was signed with the secret, at most `age` ago.

    `token`: the text that an S3 request's signature is of, in base64.
    """
    try:
        text = base64.b64decode(token.translate(str.maketrans("-_", "+/")), validate=True).decode()
    except (binascii.Error, ValueError) as err:
        raise Unauthorized("Invalid EC2 signature.") from err
    lines = text.split("\n")
    if lines[0].startswith("AWS4"):
        right, signed_at = _s3_version_4(lines, secret), _basic_time(lines[1] if len(lines) > 1 else "")
        expires_at = None
    else:
        digest = hmac.digest(secret.encode(), text.encode(), hashlib.sha1)
        right = base64.b64encode(digest).decode()
        signed_at, expires_at = _s3_version_2_times(lines)
    if not hmac.compare_digest(right.encode(), signature.encode()):
        _refuse()
    presigned = expires_at is not None and now < expires_at <= now + age
    if not presigned and (expires_at is not None or not -window <= now - signed_at <= age):
        _refuse("The signature is from another time.")


def _s3_version_4(lines: list[str], secret: str) -> str:
    scope = lines[2].split("/") if len(lines) == _LINES_OF_V4 else []
    if lines[0] != _V4 or len(scope) != _PARTS_OF_SCOPE or scope[2:] != ["s3", _V4_END] or lines[1][:8] != scope[0]:
        _refuse()
    return hmac.digest(_key(secret, scope), "\n".join(lines).encode(), hashlib.sha256).hex()


def _s3_version_2_times(lines: list[str]) -> tuple[int, int | None]:
    """When a request of version 2 was signed, or when a presigned one ends: from its fourth line or `x-amz-date`."""
    date = lines[_DATE_LINE] if len(lines) > _DATE_LINE else ""
    if not date:
        amz = (line.partition(":")[2] for line in lines[_DATE_LINE + 1 :] if line.startswith("x-amz-date:"))
        date = next(amz, "").strip()
    if date.isascii() and date.isdecimal():
        return 0, int(date[:16]) * MICROSECONDS
    try:
        moment = parsedate_to_datetime(date)
    except ValueError as err:
        raise Unauthorized("The signature has no time.") from err
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * MICROSECONDS, None


# --- times --------------------------------------------------------------------------------------------------


def _basic_time(text: str) -> int:
    """`20130524T000000Z`, the only form that version 4 has."""
    try:
        return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * MICROSECONDS
    except ValueError as err:
        raise Unauthorized("The signature has no time.") from err


def _iso_time(text: str) -> int:
    try:
        return parse_iso(text)
    except (ValueError, OverflowError) as err:
        raise Unauthorized("The signature has no time.") from err
