"""Bodies and views of key pairs."""

from operator import attrgetter
from typing import Literal

from pileus.kernel.clock import iso_micro
from pileus.kernel.fields import Body, Field, Param, Text, View

MAX_KEY = 16384
_NAME = Text(1, 255, r"\A[a-zA-Z0-9_-](?:[a-zA-Z0-9 _-]*[a-zA-Z0-9_-])?\Z")
_NAME_292 = Text(1, 255, r"\A[a-zA-Z0-9_@.-](?:[a-zA-Z0-9 _@.-]*[a-zA-Z0-9_@.-])?\Z")
_KEY = Text(0, MAX_KEY)

CREATE = Body(
    "keypair",
    Param("name", _NAME, until="2.91", required=True),
    Param("name", _NAME_292, since="2.92", required=True),
    Param("public_key", _KEY, until="2.91", default=None),
    Param("public_key", _KEY, since="2.92", required=True),
    Param("type", Literal["ssh", "x509"], since="2.2", default="ssh"),
    Param("user_id", Text(1, 64, r"\A[^\x00]*\Z"), since="2.10"),
)

_COMMON = View(
    Field("name", attrgetter("name")),
    Field("public_key", attrgetter("public_key")),
    Field("fingerprint", attrgetter("fingerprint")),
    Field("type", attrgetter("type"), since="2.2"),
)
LISTED = _COMMON
"""A key pair of GET /os-keypairs."""
CREATED = _COMMON + View(Field("user_id", attrgetter("user_id")))
"""A key pair of POST /os-keypairs, without its private half."""
SHOWN = CREATED + View(
    Field("id", attrgetter("number")),
    Field("created_at", lambda keypair: iso_micro(keypair.created_at)),
    Field("updated_at", lambda _keypair: None),
    Field("deleted", lambda _keypair: False),
    Field("deleted_at", lambda _keypair: None),
)
"""A key pair of GET /os-keypairs/{name}."""
