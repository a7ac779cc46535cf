"""Regions, services, endpoints; credentials and policy documents; version documents; the bootstrap."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity import models
from tests.identity.conftest import Cloud


def test_regions(any_cloud: Cloud) -> None:
    cloud = any_cloud
    top = cloud.make("region", id="north 1", description="d")
    assert top == {
        "id": "north 1",
        "description": "d",
        "parent_region_id": None,
        "links": {"self": "http://cloud.example/identity/v3/regions/north 1"},
    }
    child = cloud.make("region", parent_region_id=top["id"])
    assert cloud.ok("GET", "/regions?parent_region_id=north%201")["regions"] == [child]
    assert cloud.call("POST", "/regions", {"region": {"id": top["id"]}}, token=cloud.admin).status_code == 409
    assert cloud.call("DELETE", "/regions/north%201", token=cloud.admin).status_code == 409
    loop = cloud.call("PATCH", "/regions/north%201", {"region": {"parent_region_id": child["id"]}}, token=cloud.admin)
    assert loop.status_code == 400
    changed = cloud.ok("PATCH", f"/regions/{child['id']}", {"region": {"description": "e"}})["region"]
    assert changed == {**child, "description": "e"}
    cloud.ok("DELETE", f"/regions/{child['id']}")
    cloud.ok("DELETE", "/regions/north%201")
    assert [region["id"] for region in cloud.ok("GET", "/regions")["regions"]] == ["RegionOne"]


def test_services_and_endpoints(any_cloud: Cloud) -> None:
    cloud = any_cloud
    service = cloud.make("service", type="weather", name="nimbus")
    assert service.keys() == {"id", "type", "name", "enabled", "links"}
    path = f"/services/{service['id']}"
    assert cloud.ok("PATCH", path, {"service": {"description": "d"}})["service"]["description"] == "d"
    assert [one["id"] for one in cloud.ok("GET", "/services?type=weather")["services"]] == [service["id"]]

    endpoint = cloud.make(
        "endpoint", service_id=service["id"], interface="public", url="http://w/v1/%(project_id)s", region="west"
    )
    assert cloud.ok("GET", "/regions/west")["region"]["id"] == "west", "`region` makes what `region_id` must find"
    assert (endpoint["region"], endpoint["region_id"], endpoint["enabled"]) == ("west", "west", True)
    assert cloud.ok("GET", f"/endpoints?service_id={service['id']}&interface=public")["endpoints"] == [endpoint]
    result = cloud.login().json["token"]
    [shown] = [one for one in result["catalog"] if one["type"] == "weather"]
    assert [one["url"] for one in shown["endpoints"]] == [f"http://w/v1/{result['project']['id']}"]
    who = {"name": "admin", "domain": {"id": "default"}, "password": "the admin's password"}
    for_system = cloud.login({"system": {"all": True}}, **who).json["token"]["catalog"]
    assert [one["endpoints"] for one in for_system if one["type"] == "weather"] == [[]]
    where = f"/endpoints/{endpoint['id']}"
    changed = cloud.ok("PATCH", where, {"endpoint": {"interface": "internal", "enabled": False, "region": "east"}})
    assert changed["endpoint"] == {**endpoint, "interface": "internal", "enabled": False, "region": "east",
                                   "region_id": "east"}  # fmt: skip
    for refused in ({"enabled": "True"}, {"interface": "secret"}, {"url": "no url"}, {"url": "http://%(host)s"},
                    {"service_id": "0" * 32}, {"region_id": "south"}):  # fmt: skip
        assert cloud.call("PATCH", where, {"endpoint": refused}, token=cloud.admin).status_code == 400, refused
    cloud.ok("DELETE", path)
    assert cloud.call("GET", where, token=cloud.admin).status_code == 404


def test_credentials_are_encrypted_and_personal(any_cloud: Cloud) -> None:
    cloud = any_cloud
    project = cloud.make("project", name="one")["id"]
    ann = cloud.user_with("member", f"projects/{project}", name="ann")
    bob = cloud.user_with("member", f"projects/{project}", name="bob")
    tokens = [cloud.token({"project": {"id": project}}, id=user["id"], password="secret") for user in (ann, bob)]
    blob = json.dumps({"access": "key", "secret": "open sesame"})
    body = {"credential": {"user_id": ann["id"], "project_id": project, "type": "ec2", "blob": blob}}
    made = cloud.call("POST", "/credentials", body, token=tokens[0]).json["credential"]
    assert made["blob"] == blob
    assert cloud.call("POST", "/credentials", body, token=tokens[0]).status_code == 409
    assert cloud.call("POST", "/credentials", body, token=tokens[1]).status_code == 403
    with cloud.db.read() as tx:
        assert "sesame" not in str(tx.all(sa.select(models.credential)))
    path = f"/credentials/{made['id']}"
    assert [cloud.call("GET", path, token=token).status_code for token in tokens] == [200, 403]
    lists = [cloud.call("GET", "/credentials", token=token).json["credentials"] for token in (*tokens, cloud.admin)]
    assert lists == [[made], [], [made]]
    steal = {"credential": {"user_id": bob["id"]}}
    assert cloud.call("PATCH", path, steal, token=tokens[0]).status_code == 400
    without_project = {"credential": {"project_id": None}}
    assert cloud.call("PATCH", path, without_project, token=tokens[0]).status_code == 400
    changed = cloud.call("PATCH", path, {"credential": {"blob": '{"access": "other"}'}}, token=tokens[0])
    assert changed.json["credential"]["blob"] == '{"access": "other"}'
    cloud.ok("DELETE", f"/users/{ann['id']}")
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404


def test_policy_documents(any_cloud: Cloud) -> None:
    cloud = any_cloud
    policy = cloud.make("policy", blob={"a": [1]}, type="application/json")
    path = f"/policies/{policy['id']}"
    assert cloud.ok("GET", path)["policy"] == policy
    assert cloud.ok("PATCH", path, {"policy": {"type": "text"}})["policy"] == {**policy, "type": "text"}
    assert cloud.ok("GET", "/policies?type=text")["policies"][0]["blob"] == {"a": [1]}
    cloud.ok("DELETE", path)
    assert cloud.call("GET", path, token=cloud.admin).status_code == 404


@pytest.mark.parametrize("path", ["OS-SIMPLE-CERT/ca", "OS-SIMPLE-CERT/certificates", "auth/tokens/OS-PKI/revoked"])
def test_certificates_of_signed_tokens_are_gone(cloud: Cloud, path: str) -> None:
    for token in (None, cloud.admin):
        answer = cloud.call("GET", f"/{path}", token=token)
        assert (answer.status_code, answer.json["error"]["title"]) == (410, "Gone")


@pytest.mark.parametrize("path", ["/identity", "/identity/"])
def test_versions(cloud: Cloud, path: str) -> None:
    answer = cloud.client.simulate_get(path)
    assert answer.status_code == 300
    [version] = answer.json["versions"]["values"]
    assert version["id"].startswith("v3.")
    assert version["links"] == [{"rel": "self", "href": "http://cloud.example/identity/v3/"}]
    assert cloud.client.simulate_get("/identity/v3").json["version"] == version
    assert version.keys() == {"id", "status", "updated", "links", "media-types"}


def test_bootstrap_again_changes_nothing(any_cloud: Cloud) -> None:
    cloud = any_cloud

    def everything() -> dict[str, Any]:
        with cloud.db.read() as tx:
            tables = [table for table in models.project.metadata.sorted_tables if table.name.startswith("identity_")]
            return {table.name: sorted(map(repr, tx.all(sa.select(table)))) for table in tables}

    before = everything()
    cloud.bootstrap(admin_password="another")
    assert everything() == before
    cloud.bootstrap(endpoints={"image": "/elsewhere"})
    urls = {endpoint["url"] for endpoint in cloud.ok("GET", "/endpoints")["endpoints"]}
    assert "http://cloud.example/elsewhere" in urls
    assert "http://cloud.example/image" not in urls
    assert "http://cloud.example/compute/v2.1" in urls
