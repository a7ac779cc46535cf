"""Claims as the attributes that mappings speak of.

In front of Keystone mod_auth_openidc hands claims on, under names that depend on its configuration. Mappings written
for any of the usual ones carry over: the claim `email` is `OIDC-email`, `OIDC_CLAIM_email` and `HTTP_OIDC_EMAIL`.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.identity.federation.domain import Attributes

ISSUER = "HTTP_OIDC_ISS"
"""The attribute that says which provider it was."""
_NOT_IN_HEADERS = re.compile(r"[^A-Za-z0-9]")
_MOST_VALUES = 1000
_LONGEST_VALUE = 16384


def attributes_of(claims: Mapping[str, Any]) -> Attributes:
    """Every claim under its names. Lists have several values; what is no text is its JSON. Null and empty: left out."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in claims.items():
        values = _values(value)
        if values:
            found[f"OIDC-{name}"] = found[f"OIDC_CLAIM_{name}"] = values
            found[f"HTTP_OIDC_{_NOT_IN_HEADERS.sub('_', name).upper()}"] = values
    # Claims whose names differ in such characters alone would be one header: what they are must not be in doubt.
    issuer, subject = str(claims["iss"]), str(claims["sub"])
    found[ISSUER] = (issuer,)
    found["HTTP_OIDC_SUB"] = (subject,)
    found["REMOTE_USER"] = (f"{subject}@{issuer.partition('://')[2].rstrip('/')}",)
    return found


def _values(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    texts = [_text(item) for item in items[:_MOST_VALUES] if item is not None]
    return tuple(text for text in texts if text and len(text) <= _LONGEST_VALUE)


def _text(item: Any) -> str:
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()
