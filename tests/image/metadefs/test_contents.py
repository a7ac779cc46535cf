"""What namespaces hold: objects, properties, tags and the resource types that they are for."""

from typing import Any

import pytest

from tests.image.metadefs.conftest import ADMIN, ANN, Metadefs

DISK: dict[str, Any] = {"title": "Disk", "type": "string"}
EVERY_KEY: dict[str, Any] = {
    "title": "All",
    "type": "array",
    "description": "Every key there is",
    "operators": ["<or>"],
    "default": ["a"],
    "readonly": False,
    "minimum": 1,
    "maximum": 2.5,
    "enum": ["a", 1, None],
    "pattern": "^a+$",
    "minLength": 0,
    "maxLength": 10,
    "items": {"type": "string", "enum": ["a"]},
    "uniqueItems": True,
    "minItems": 0,
    "maxItems": 3,
    "additionalItems": False,
}


def test_an_object_is_made_replaced_and_deleted(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    metadefs.make("N", visibility="public")
    made = metadefs.make("N", "objects", name="CPU limits", properties={"quota": EVERY_KEY}, required=["quota"])
    assert made == {
        "name": "CPU limits",
        "properties": {"quota": EVERY_KEY},
        "required": ["quota"],
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "self": "/v2/metadefs/namespaces/N/objects/CPU%20limits",
        "schema": "/v2/schemas/metadefs/object",
    }
    assert metadefs.get("N", "objects", "CPU limits", token=ANN) == made
    taken = metadefs.call("POST", "N", "objects", json={"name": "CPU limits"})
    assert taken.status_code == 409
    assert taken.json["message"] == "A metadata definition object with name=CPU limits already exists in namespace=N."
    metadefs.make("N", "objects", name="cpu limits")
    body = {"name": "Limits", "description": "New"}
    changed = metadefs.call("PUT", "N", "objects", "CPU limits", json=body)
    assert changed.status_code == 200
    assert (changed.json["description"], changed.json["properties"], changed.json["required"]) == ("New", {}, [])
    assert changed.json["updated_at"] > changed.json["created_at"] == made["created_at"]
    assert metadefs.status("PUT", "N", "objects", "Limits", json={"name": "cpu limits"}) == 409
    missing = metadefs.call("PUT", "N", "objects", "CPU limits", json=body | {"name": "Other"})
    assert missing.status_code == 404
    assert "object with name=CPU limits was not found in namespace=N" in missing.json["message"]
    listed = metadefs.get("N", "objects", token=ANN)
    assert [one["name"] for one in listed["objects"]] == ["cpu limits", "Limits"]
    assert metadefs.status("DELETE", "N", "objects", "Limits") == 204
    assert metadefs.status("DELETE", "N", "objects", "Limits") == 404
    assert metadefs.status("GET", "N", "objects", "Limits") == 404


def test_a_property_is_made_replaced_and_deleted(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    metadefs.make("N", visibility="public")
    assert metadefs.make("N", "properties", name="all", **EVERY_KEY) == {"name": "all", **EVERY_KEY}
    metadefs.make("N", "properties", name="disk", **DISK)
    assert metadefs.get("N", "properties", token=ANN) == {"properties": {"all": EVERY_KEY, "disk": DISK}}
    assert metadefs.get("N", "properties", "all", token=ANN) == {"name": "all", **EVERY_KEY}
    assert metadefs.status("POST", "N", "properties", json={"name": "disk", **DISK}) == 409
    body = {"name": "drive", "title": "Drive", "type": "integer"}
    assert metadefs.call("PUT", "N", "properties", "disk", json=body).json == body
    assert metadefs.status("PUT", "N", "properties", "drive", json={**body, "name": "all"}) == 409
    assert metadefs.status("PUT", "N", "properties", "disk", json=body | {"name": "new"}) == 404
    assert metadefs.status("DELETE", "N", "properties", "drive") == 204
    assert metadefs.status("GET", "N", "properties", "drive") == 404
    assert list(metadefs.get("N")["properties"]) == ["all"]


def test_a_property_by_the_name_that_a_resource_gives_it(metadefs: Metadefs) -> None:
    types = [{"name": "image", "prefix": "hw_"}, {"name": "plain"}]
    metadefs.make("N", resource_type_associations=types, properties={"disk": DISK})
    found = metadefs.get("N", "properties", "hw_disk", query="resource_type=image")
    assert found == {"name": "disk", **DISK}
    assert metadefs.get("N", "properties", "disk", query="resource_type=plain") == found
    unprefixed = metadefs.call("GET", "N", "properties", "disk", query_string="resource_type=image")
    assert unprefixed.status_code == 404
    assert "prefix of 'hw_'" in unprefixed.json["message"]
    assert metadefs.status("GET", "N", "properties", "disk", query_string="resource_type=other") == 404
    assert metadefs.status("GET", "N", "properties", "hw_disk") == 404


def test_tags_one_by_one(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    metadefs.make("N", visibility="public")
    made = metadefs.make("N", "tags", "linux")
    assert made == {"name": "linux", "created_at": made["created_at"], "updated_at": made["created_at"]}
    assert metadefs.status("POST", "N", "tags", "linux") == 409
    assert metadefs.get("N", "tags", "linux", token=ANN) == made
    changed = metadefs.call("PUT", "N", "tags", "linux", json={"name": "Linux"}).json
    assert changed["name"] == "Linux"
    assert changed["updated_at"] > changed["created_at"] == made["created_at"]
    metadefs.make("N", "tags", "bsd")
    assert metadefs.status("PUT", "N", "tags", "bsd", json={"name": "Linux"}) == 409
    assert metadefs.status("PUT", "N", "tags", "bsd", json={"name": "bsd"}) == 200
    assert metadefs.status("PUT", "N", "tags", "none", json={"name": "new"}) == 404
    assert metadefs.status("DELETE", "N", "tags", "bsd") == 204
    assert metadefs.status("DELETE", "N", "tags", "bsd") == 404
    assert metadefs.get("N", "tags") == {"tags": [{"name": "Linux"}]}


def test_tags_by_the_list(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    metadefs.make("N")

    def post(*names: str, append: str | None = None) -> int:
        headers = {} if append is None else {"X-Openstack-Append": append}
        body = {"tags": [{"name": name} for name in names]}
        answer = metadefs.call("POST", "N", "tags", json=body, headers=headers)
        assert answer.status_code != 201 or answer.json == body
        return answer.status_code

    def tags(query: str = "") -> list[str]:
        return [one["name"] for one in metadefs.get("N", "tags", query=query)["tags"]]

    assert post("a", "b") == 201
    assert post("c", "d", "e") == 201
    assert sorted(tags()) == ["c", "d", "e"]
    assert post("x", "y", "x") == 409
    assert post("f", append="True") == 201
    assert post("g", "f", append="true") == 409
    assert post("g", append="False") == 201
    assert post("h", append="maybe") == 400
    assert post(append="True") == post() == 201
    assert tags() == ["g"]
    assert post("a", "b", "c", "d", append="1") == 201
    assert tags("sort_key=name&sort_dir=asc") == ["a", "b", "c", "d", "g"]
    assert tags("sort_key=name&sort_dir=asc&limit=2&marker=b") == ["c", "d"]
    assert tags("limit=2&sort_key=name") == ["g", "d"]
    assert metadefs.status("GET", "N", "tags", query_string="marker=none") == 404
    assert metadefs.status("GET", "N", "tags", query_string="sort_key=size") == 400
    assert metadefs.status("DELETE", "N", "tags") == 204
    assert tags() == []


def test_what_a_namespace_is_for(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere

    def types() -> list[str]:
        listed = metadefs.api.call("GET", "/metadefs/resource_types", ANN).json["resource_types"]
        return [one["name"] for one in listed]

    with metadefs.api.db.write() as tx:
        metadefs.api.images.metadefs.bootstrap(tx)
        metadefs.api.images.metadefs.bootstrap(tx)
    seeded = types()
    assert "OS::Glance::Image" in seeded
    metadefs.make("N", visibility="public")
    made = metadefs.make("N", "resource_types", name="Ours::Rack", prefix="rack:", properties_target="shelf")
    assert made == {
        "name": "Ours::Rack",
        "prefix": "rack:",
        "properties_target": "shelf",
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
    }
    assert metadefs.status("POST", "N", "resource_types", json={"name": "Ours::Rack"}) == 409
    metadefs.make("N", "resource_types", name="OS::Glance::Image")
    listed = metadefs.get("N", "resource_types", token=ANN)["resource_type_associations"]
    assert listed[0] == made
    assert [one["name"] for one in listed] == ["Ours::Rack", "OS::Glance::Image"]
    assert types() == sorted([*seeded, "Ours::Rack"])
    assert metadefs.status("DELETE", "N", "resource_types", "Ours::Rack") == 204
    assert metadefs.status("DELETE", "N", "resource_types", "Ours::Rack") == 404
    assert types() == sorted([*seeded, "Ours::Rack"])
    assert metadefs.names("resource_types=OS::Glance::Image") == ["N"]


@pytest.mark.parametrize(
    ("steps", "body", "status", "said"),
    [
        (("objects",), {}, 400, "'name'"),
        (("objects",), {"name": "o" * 81}, 400, "name"),
        (("objects",), {"name": "o", "colour": 1}, 400, "'colour'"),
        (("objects",), {"name": "o", "properties": {"p": {"title": "t", "type": "text"}}}, 400, "type"),
        (("objects",), {"name": "o", "self": "x"}, 403, "'self' is read-only"),
        (("properties",), {"title": "t", "type": "string"}, 400, "'name'"),
        (("properties",), {"name": "p", "title": "t", "type": "string", "items": {"size": 1}}, 400, "'size'"),
        (("properties",), {"name": "p", "title": "t", "type": "string", "maxItems": 1.5}, 400, "maxItems"),
        (("properties",), {"name": "p", "title": "t", "type": "string", "updated_at": "x"}, 403, "'updated_at'"),
        (("tags",), {"tags": [{"name": ""}]}, 400, "name"),
        (("tags",), {"tags": "t"}, 400, "tags"),
        (("tags",), {}, 400, "'tags'"),
        (("resource_types",), {"prefix": "p"}, 400, "'name'"),
        (("resource_types",), {"name": "r", "properties_target": "t" * 81}, 400, "properties_target"),
        (("resource_types",), {"name": "r", "created_at": "x"}, 403, "'created_at'"),
    ],
)
def test_what_is_refused(
    metadefs: Metadefs, steps: tuple[str, ...], body: dict[str, Any], status: int, said: str
) -> None:
    metadefs.make("N")
    refused = metadefs.call("POST", "N", *steps, json=body)
    assert refused.status_code == status, refused.text
    assert said in refused.json["message"]
    assert metadefs.status("POST", "none", *steps, json={"name": "x", "title": "t", "type": "string"}) in (400, 404)


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("namespace", "namespace"),
        ("namespaces", "namespaces"),
        ("resource_type", "resource_type_association"),
        ("resource_types", "resource_type_associations"),
        ("object", "object"),
        ("objects", "objects"),
        ("property", "property"),
        ("properties", "properties"),
        ("tag", "tag"),
        ("tags", "tags"),
    ],
)
def test_the_json_schemas(metadefs: Metadefs, document: str, name: str) -> None:
    answer = metadefs.api.call("GET", f"/schemas/metadefs/{document}", ANN)
    assert answer.status_code == 200
    assert answer.json["name"] == name
    assert answer.json["properties"]
    assert metadefs.api.call("GET", f"/schemas/metadefs/{document}x", ADMIN).status_code == 404
