"""Logging in, and what tokens say."""

from tests.identity.conftest import Cloud


def test_login_answers_as_keystone(cloud: Cloud) -> None:
    result = cloud.login()
    token = result.json["token"]
    assert token["methods"] == ["password"]
    assert token["user"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["user"]["password_expires_at"] is None
    assert token["project"]["name"] == "admin"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert token["is_domain"] is False
    assert {role["name"] for role in token["roles"]} == {"admin", "manager", "member", "reader"}
    assert token["issued_at"] == "2023-11-14T22:13:20.000000Z"
    assert token["expires_at"] == "2023-11-14T23:13:20.000000Z"
    assert len(token["audit_ids"]) == 1
    compute = next(service for service in token["catalog"] if service["type"] == "compute")
    assert {endpoint["interface"] for endpoint in compute["endpoints"]} == {"public", "internal", "admin"}
    assert {endpoint["url"] for endpoint in compute["endpoints"]} == {"http://cloud.example/compute/v2.1"}
    assert {endpoint["region"] for endpoint in compute["endpoints"]} == {"RegionOne"}
    assert len(result.headers["X-Subject-Token"]) < 255
