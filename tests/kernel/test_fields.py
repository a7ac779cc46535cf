"""Requests and responses as tables."""

from types import SimpleNamespace

import pytest

from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import UNSET, Body, Field, Integer, Param, Text, View, given
from pileus.kernel.versions import parse

SERVER = View(
    Field("id", lambda s: s.id),
    Field("locked", lambda s: s.locked, since="2.9"),
    Field("flavor", lambda _: "link", until="2.46"),
    Field("flavor", lambda _: "embedded", since="2.47"),
    Field("host", lambda s: s.host, rule="admin"),
)
THING = SimpleNamespace(id="1", locked=True, host="h")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.1", {"id": "1", "flavor": "link"}),
        ("2.9", {"id": "1", "flavor": "link", "locked": True}),
        ("2.46", {"id": "1", "flavor": "link", "locked": True}),
        ("2.47", {"id": "1", "flavor": "embedded", "locked": True}),
    ],
)
def test_fields_appear_in_their_versions(version: str, expected: dict[str, object]) -> None:
    assert SERVER.render(THING, parse(version)) == expected


def test_guarded_fields_need_the_rule() -> None:
    assert SERVER.render(THING, parse("2.1"), may=lambda rule: rule == "admin")["host"] == "h"
    assert "host" not in SERVER.render(THING, parse("2.1"), may=lambda _: False)
    assert "host" not in SERVER.render(THING, parse("2.1"))


def test_only_keeps_the_named_fields() -> None:
    assert SERVER.render(THING, parse("2.9"), only={"locked", "nothing"}) == {"locked": True}


def test_overlapping_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="overlapping"):
        View(Field("a", id, until="2.5"), Field("a", id, since="2.5"))
    with pytest.raises(ValueError, match="overlapping"):
        Body("x", Param("a", str), Param("a", int, since="2.5"))


CREATE = Body(
    "server",
    Param("name", Text(1, 8), required=True),
    Param("min_count", Integer(1)),
    Param("OS-DCF:diskConfig", Text()),
    Param("tags", list[str], since="2.52"),
    Param("nested", (Param("inner", int, required=True), Param("class", str)), nullable=True),
)


def test_a_good_body_is_decoded_with_its_defaults() -> None:
    body = CREATE.decode(b'{"server": {"name": "a", "min_count": "2", "nested": {"inner": 1}}}', parse("2.1"))
    assert (body.name, body.min_count, body.OS_DCF_diskConfig) == ("a", 2, UNSET)
    assert body.nested.inner == 1
    assert given(body.nested.class_, "none") == "none"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "'server' is a required property"),
        (b'{"server": {}}', "'name' is a required property in 'server'"),
        (b'{"server": {"name": ""}}', "server.name"),
        (b'{"server": {"name": "123456789"}}', "server.name"),
        (b'{"server": {"name": 1}}', "server.name"),
        (b'{"server": {"name": null}}', "server.name"),
        (b'{"server": {"name": "a", "min_count": 0}}', "server.min_count"),
        (b'{"server": {"name": "a", "min_count": "x"}}', "server.min_count"),
        (b'{"server": {"name": "a", "bogus": 0}}', "'bogus' was unexpected"),
        (b'{"server": {"name": "a", "tags": []}}', "'tags' was unexpected"),
        (b'{"server": {"name": "a", "nested": {}}}', "'inner' is a required property in 'server.nested'"),
        (b'{"server": {"name": "a"}, "other": 1}', "'other' was unexpected"),
    ],
)
def test_a_bad_body_is_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message.replace("(", r"\(")):
        CREATE.decode(data, parse("2.1"))


def test_versions_widen_the_body() -> None:
    assert CREATE.decode(b'{"server": {"name": "a", "tags": ["t"]}}', parse("2.52")).tags == ["t"]


def test_unknown_keys_are_ignored_where_the_contract_says_so() -> None:
    body = Body("user", Param("name", str, required=True), extra=True)
    assert body.decode(b'{"user": {"name": "a", "email": "x"}, "more": 1}').name == "a"
