"""Namespaces: their life, who sees them, and lists of them."""

from typing import Any

import pytest

from tests.image.metadefs.conftest import ADMIN, ANN, BOB, Metadefs

DISK: dict[str, Any] = {"title": "Disk", "type": "string", "enum": ["ssd", "hdd"], "minLength": 0}
WHOLE: dict[str, Any] = {
    "display_name": "All kinds",
    "description": "One of each",
    "visibility": "public",
    "resource_type_associations": [
        {"name": "OS::Cinder::Volume", "properties_target": "image"},
        {"name": "OS::Glance::Image", "prefix": "hw_"},
    ],
    "properties": {"disk": DISK},
    "objects": [{"name": "Speed", "required": ["iops"], "properties": {"iops": {"title": "IOPS", "type": "integer"}}}],
    "tags": [{"name": "fast"}, {"name": "slow"}],
}


def test_a_namespace_is_made_replaced_and_deleted(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    made = metadefs.call("POST", json={"namespace": "Ours::Disks"})
    assert made.status_code == 201
    assert made.headers["Location"] == "http://cloud/image/v2/metadefs/namespaces/Ours::Disks"
    assert made.json == {
        "namespace": "Ours::Disks",
        "visibility": "private",
        "protected": False,
        "owner": "adm",
        "created_at": made.json["created_at"],
        "updated_at": made.json["created_at"],
        "self": "/v2/metadefs/namespaces/Ours::Disks",
        "schema": "/v2/schemas/metadefs/namespace",
    }
    again = metadefs.call("POST", json={"namespace": "Ours::Disks"})
    assert again.status_code == 409
    assert again.json["message"] == "The metadata definition namespace=Ours::Disks already exists."
    assert metadefs.status("POST", json={"namespace": "ours::disks"}) == 201  # names compare exactly everywhere
    metadefs.api.clock.advance(60)
    fields = {"namespace": "Ours::Drives", "description": "Drives", "visibility": "public", "owner": "p1"}
    changed = metadefs.call("PUT", "Ours::Disks", json=fields)
    assert changed.status_code == 200
    assert {key: changed.json[key] for key in fields} == fields
    assert changed.json["updated_at"] > changed.json["created_at"] == made.json["created_at"]
    assert metadefs.get("Ours::Drives") == changed.json
    assert metadefs.call("PUT", "Ours::Drives", json={"namespace": "ours::disks"}).status_code == 409
    reset = metadefs.call("PUT", "Ours::Drives", json={"namespace": "Ours::Drives"}).json
    assert "description" not in reset
    assert (reset["visibility"], reset["owner"]) == ("private", "p1")
    assert metadefs.status("DELETE", "Ours::Drives") == 204
    gone = metadefs.call("GET", "Ours::Drives")
    assert gone.status_code == 404
    assert gone.json["message"] == "Metadata definition namespace=Ours::Drives was not found."
    assert metadefs.status("DELETE", "Ours::Drives") == 404
    assert metadefs.status("PUT", "Ours::Drives", json={"namespace": "Ours::Drives"}) == 404


def test_a_namespace_is_made_with_all_that_it_holds(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    made = metadefs.make("Whole", **WHOLE)
    shown = metadefs.get("Whole", token=ANN)
    assert shown == made
    assert shown["properties"] == {"disk": DISK}
    assert sorted(tag["name"] for tag in shown["tags"]) == ["fast", "slow"]
    assert {one["name"]: one.get("prefix") for one in shown["resource_type_associations"]} == {
        "OS::Glance::Image": "hw_",
        "OS::Cinder::Volume": None,
    }
    (speed,) = shown["objects"]
    assert (speed["name"], speed["required"]) == ("Speed", ["iops"])
    assert speed["self"] == "/v2/metadefs/namespaces/Whole/objects/Speed"
    assert metadefs.status("DELETE", "Whole") == 204
    assert metadefs.make("Whole").keys() == {
        "namespace", "visibility", "protected", "owner", "created_at", "updated_at", "self", "schema",
    }  # fmt: skip


def test_properties_have_the_prefix_of_the_resource_type_that_is_asked_for(metadefs: Metadefs) -> None:
    metadefs.make("Whole", **WHOLE)
    shown = metadefs.get("Whole", query="resource_type=OS::Glance::Image")
    assert shown["properties"] == {"hw_disk": DISK}
    assert shown["objects"][0]["required"] == ["hw_iops"]
    assert list(shown["objects"][0]["properties"]) == ["hw_iops"]
    plain = metadefs.get("Whole")
    assert metadefs.get("Whole", query="resource_type=OS::Cinder::Volume") == plain
    assert metadefs.get("Whole", query="resource_type=OS::Nova::Server") == plain


def test_nothing_is_left_of_a_namespace_that_could_not_be_made_whole(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    for held in ({"tags": [{"name": "a"}, {"name": "a"}]}, {"objects": [{"name": "o"}, {"name": "o"}]},
                 {"resource_type_associations": [{"name": "r"}, {"name": "r"}]}):  # fmt: skip
        refused = metadefs.call("POST", json={"namespace": "Twice", "properties": {"disk": DISK}, **held})
        assert refused.status_code == 409
        assert "already exists in namespace=Twice" in refused.json["message"]
    assert metadefs.names() == []
    assert metadefs.api.call("GET", "/metadefs/resource_types", ADMIN).json == {"resource_types": []}


def test_what_is_protected_stays(metadefs: Metadefs) -> None:
    metadefs.make("Kept", protected=True, **WHOLE)
    for steps in ((), ("objects",), ("properties",), ("tags",), ("objects", "Speed"), ("properties", "disk"),
                  ("tags", "fast"), ("resource_types", "OS::Glance::Image")):  # fmt: skip
        refused = metadefs.call("DELETE", "Kept", *steps)
        assert refused.status_code == 403, steps
        assert "is protected and cannot be deleted. Set protected to false" in refused.json["message"]
    assert metadefs.status("PUT", "Kept", json={"namespace": "Kept", "protected": False}) == 200
    assert metadefs.get("Kept")["properties"] == {"disk": DISK}
    for steps in (("objects",), ("properties",), ("tags",)):
        assert metadefs.status("DELETE", "Kept", *steps) == 204
    assert not {"objects", "properties", "tags"} & metadefs.get("Kept").keys()
    assert metadefs.status("DELETE", "Kept") == 204


def test_who_sees_and_who_changes(metadefs: Metadefs) -> None:
    metadefs.make("Public", visibility="public")
    metadefs.make("Of1", owner="p1", tags=[{"name": "t"}])
    assert metadefs.names() == ["Of1", "Public"]
    assert metadefs.names(token=ANN) == ["Of1", "Public"]
    assert metadefs.names(token=BOB) == ["Public"]
    assert metadefs.status("GET", "Of1", token=ANN) == 200
    for method, *steps in (("GET",), ("DELETE",), ("GET", "objects"), ("GET", "properties"), ("GET", "tags", "t"),
                           ("GET", "resource_types"), ("DELETE", "tags", "t"), ("POST", "tags", "u")):  # fmt: skip
        assert metadefs.status(method, "Of1", *steps, token=BOB) == 404
        assert metadefs.status("GET", "Of1", *steps[:1], token=ANN) == 200
    for name, method, *steps in (("Of1", "DELETE"), ("Public", "DELETE"), ("Public", "DELETE", "tags"),
                                 ("Of1", "POST", "tags", "u")):  # fmt: skip
        assert metadefs.status(method, name, *steps, token=ANN) == 403
    assert metadefs.status("POST", token=ANN, json={"namespace": "Mine"}) == 403
    assert metadefs.status("PUT", "Of1", token=ANN, json={"namespace": "Of1"}) == 403
    assert metadefs.status("GET", "Of1", token="nobody") == 401


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "'namespace' is a required property"),
        ({"namespace": ""}, 400, "namespace"),
        ({"namespace": "a" * 81}, 400, "namespace"),
        ({"namespace": "a/b"}, 400, "namespace"),
        ({"namespace": ".."}, 400, "namespace"),
        ({"namespace": "a\0b"}, 400, "U+0000"),
        ({"namespace": 7}, 400, "namespace"),
        ({"namespace": "a", "display_name": "d" * 81}, 400, "display_name"),
        ({"namespace": "a", "description": "d" * 501}, 400, "description"),
        ({"namespace": "a", "visibility": "shared"}, 400, "visibility"),
        ({"namespace": "a", "protected": "yes"}, 400, "protected"),
        ({"namespace": "a", "owner": "o" * 256}, 400, "owner"),
        ({"namespace": "a", "colour": "red"}, 400, "'colour'"),
        ({"namespace": "a", "tags": [{}]}, 400, "'name' is a required property"),
        ({"namespace": "a", "objects": [{"name": "o", "required": ["p", "p"]}]}, 400, "twice"),
        ({"namespace": "a", "properties": {"p": {"title": "P"}}}, 400, "'type'"),
        ({"namespace": "a", "properties": {"p": {**DISK, "minLength": -1}}}, 400, "minLength"),
        ({"namespace": "a", "properties": {"p": {**DISK, "colour": "red"}}}, 400, "'colour'"),
        ({"namespace": "a", "resource_type_associations": [{"name": "r", "prefix": "p" * 81}]}, 400, "prefix"),
        ({"namespace": "a", "self": "/v2"}, 403, "Attribute 'self' is read-only."),
        ({"namespace": "a", "schema": "/v2"}, 403, "Attribute 'schema' is read-only."),
        ({"namespace": "a", "created_at": "2026-01-01T00:00:00Z"}, 403, "Attribute 'created_at' is read-only."),
        ({"namespace": "a", "description": "d" * (1 << 20)}, 413, "larger than"),
    ],
)
def test_what_is_refused(metadefs: Metadefs, body: dict[str, Any], status: int, said: str) -> None:
    metadefs.make("there")
    for method, steps in (("POST", ()), ("PUT", ("there",))):
        refused = metadefs.call(method, *steps, json=body)
        assert refused.status_code == status, refused.text
        assert said in refused.json["message"]
    assert metadefs.names() == ["there"]


@pytest.mark.parametrize("name", ["Ünïcode::名前 🚀", "a b?c#d&e%2F=+", "x" * 80, "..."])
def test_any_name_can_be_asked_for(metadefs_everywhere: Metadefs, name: str) -> None:
    metadefs = metadefs_everywhere
    made = metadefs.make(name, visibility="public", tags=[{"name": name}], objects=[{"name": name}])
    assert metadefs.get(name, token=BOB) == made
    assert metadefs.get(name, "tags", name)["name"] == name
    for path in (made["self"], made["objects"][0]["self"]):
        found = metadefs.api.call("GET", path.removeprefix("/v2"), ADMIN)
        assert found.status_code == 200
        assert name in (found.json.get("namespace"), found.json.get("name"))
    assert metadefs.status("DELETE", name, "objects", name) == 204
    assert metadefs.status("DELETE", name) == 204


def test_no_name_makes_an_error_of_ours(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    metadefs.make("there")
    for name in ("a\0b", "\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "y" * 5000):
        assert metadefs.status("GET", name) in (400, 404)
        assert metadefs.status("GET", "there", "tags", name) in (400, 404)
    assert metadefs.status("POST", "there", "tags", "a\0b") == 400
    assert metadefs.status("POST", "there", "tags", "t" * 81) == 400


def test_lists_are_filtered_sorted_and_paged(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    for number, name in enumerate("badce"):
        metadefs.make(
            name,
            visibility="public" if number % 2 else "private",
            owner="p1" if number < 3 else "p2",
            resource_type_associations=[{"name": f"type{number % 3}"}, {"name": "all"}],
        )
    assert metadefs.names() == ["e", "c", "d", "a", "b"]
    assert metadefs.names("sort_key=namespace&sort_dir=asc") == list("abcde")
    assert metadefs.names("visibility=public") == ["c", "a"]
    assert metadefs.names("visibility=private", token=BOB) == ["e"]
    assert metadefs.names("owner=p1") == ["d", "a", "b"]
    assert metadefs.names("owner=p1", token=BOB) == ["a"]
    assert metadefs.names("resource_types=type0") == ["c", "b"]
    assert metadefs.names("resource_types=type1,type2") == ["e", "d", "a"]
    assert metadefs.names("resource_types=none") == []
    assert metadefs.names("limit=0") == []
    first = metadefs.get(query="limit=2&sort_key=namespace&sort_dir=asc&resource_types=all")
    assert first["schema"] == "/v2/schemas/metadefs/namespaces"
    seen, page = [one["namespace"] for one in first["namespaces"]], first
    while "next" in page:
        page = metadefs.api.call("GET", page["next"].removeprefix("/v2"), ADMIN).json
        assert sorted(page["first"].split("?")[1].split("&")) == sorted(first["first"].split("?")[1].split("&"))
        seen += [one["namespace"] for one in page["namespaces"]]
    assert seen == list("abcde")
    by_owner = metadefs.names("sort_key=owner&sort_dir=asc")
    assert metadefs.names(f"sort_key=owner&sort_dir=asc&marker={by_owner[1]}") == by_owner[2:]
    assert metadefs.names("marker=d") == ["a", "b"]
    for wrong in ("limit=many", "limit=-1", "sort_key=size", "sort_dir=up", "visibility=shared"):
        assert metadefs.status("GET", query_string=wrong) == 400
    assert metadefs.status("GET", query_string="marker=none") == 404
    assert metadefs.status("GET", token=BOB, query_string="marker=b") == 404


def test_a_page_takes_as_many_queries_as_one_namespace(metadefs: Metadefs) -> None:
    metadefs.make("n0", **WHOLE)
    with metadefs.statements() as of_one:
        assert metadefs.names() == ["n0"]
    for number in range(1, 12):
        metadefs.make(f"n{number}", **WHOLE)
    with metadefs.statements() as of_many:
        shown = metadefs.get()["namespaces"]
    assert len(of_many) == len(of_one) <= 2
    assert [len(one["resource_type_associations"]) for one in shown] == [2] * 12
