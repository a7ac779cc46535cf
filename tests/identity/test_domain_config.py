"""Domains' own configuration: what may be stored, what is shown, what is kept secret."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.identity.domain_config.models import domain_option
from pileus.identity.domain_config.options import DEFAULTS
from pileus.identity.settings import IdentitySettings, SecurityComplianceSettings
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database
from tests.identity.conftest import Cloud, cloud_on

CONFIG = {
    "identity": {"driver": "ldap"},
    "ldap": {"url": "ldap://directory.example", "user_tree_dn": "ou=Users,dc=example,dc=org"},
}


@pytest.fixture
def domain(any_cloud: Cloud) -> str:
    """The path of a new domain's configuration."""
    return f"/domains/{any_cloud.make('domain', name='d')['id']}/config"


def status(cloud: Cloud, method: str, path: str, config: Any = None) -> int:
    body = None if config is None else {"config": config}
    return cloud.call(method, path, body, token=cloud.admin).status_code


def test_create_and_show(any_cloud: Cloud, domain: str) -> None:
    cloud = any_cloud
    assert status(cloud, "GET", domain) == 404
    assert cloud.ok("PUT", domain, {"config": CONFIG}, status=201) == {"config": CONFIG}
    assert cloud.ok("GET", domain) == {"config": CONFIG}
    assert cloud.call("HEAD", domain, token=cloud.admin).status_code == 200
    assert cloud.ok("GET", f"{domain}/ldap") == {"config": {"ldap": CONFIG["ldap"]}}
    assert cloud.ok("GET", f"{domain}/identity/driver") == {"config": {"driver": "ldap"}}
    assert status(cloud, "GET", f"{domain}/ldap/user") == 404
    again = {"identity": {"list_limit": 7}}
    assert cloud.ok("PUT", domain, {"config": again}, status=200) == {"config": again}
    assert cloud.ok("GET", domain) == {"config": again}, "nothing is left of the configuration before"


def test_update(any_cloud: Cloud, domain: str) -> None:
    cloud = any_cloud
    cloud.ok("PUT", domain, {"config": CONFIG}, status=201)
    changed = cloud.ok("PATCH", domain, {"config": {"ldap": {"url": "ldap://other"}, "identity": {"list_limit": 3}}})
    expected = {
        "identity": {"driver": "ldap", "list_limit": 3},
        "ldap": {**CONFIG["ldap"], "url": "ldap://other"},
    }
    assert changed == {"config": expected}
    changed = cloud.ok("PATCH", f"{domain}/identity", {"config": {"identity": {"driver": "sql"}}})
    expected["identity"]["driver"] = "sql"
    assert changed == {"config": expected}
    changed = cloud.ok("PATCH", f"{domain}/ldap/url", {"config": {"url": "ldap://third"}})
    expected["ldap"]["url"] = "ldap://third"
    assert changed == {"config": expected} == cloud.ok("GET", domain)
    assert status(cloud, "PATCH", f"{domain}/ldap/user", {"user": "cn=me"}) == 404, "it has no such option yet"


def test_delete(any_cloud: Cloud, domain: str) -> None:
    cloud = any_cloud
    cloud.ok("PUT", domain, {"config": CONFIG}, status=201)
    cloud.ok("DELETE", f"{domain}/ldap/url")
    assert status(cloud, "DELETE", f"{domain}/ldap/url") == 404
    assert cloud.ok("GET", f"{domain}/ldap")["config"]["ldap"].keys() == {"user_tree_dn"}
    cloud.ok("DELETE", f"{domain}/ldap")
    assert status(cloud, "DELETE", f"{domain}/ldap") == 404
    assert status(cloud, "PATCH", f"{domain}/ldap", {"ldap": {"url": "u"}}) == 404
    cloud.ok("DELETE", domain)
    assert status(cloud, "GET", domain) == 404


@pytest.mark.parametrize(
    ("method", "part", "config"),
    [("PUT", "", {}), ("PUT", "", {"token": {"expiration": 1}}), ("PUT", "", {"ldap": {"colour": "red"}}),
     ("PUT", "", {"ldap": {}}), ("PUT", "", {"ldap": "url"}), ("PATCH", "", {}), ("GET", "/token", None),
     ("GET", "/ldap/colour", None), ("DELETE", "/token", None), ("PATCH", "/ldap", CONFIG),
     ("PATCH", "/ldap", {"identity": {"driver": "x"}}), ("PATCH", "/ldap/url", {"url": "x", "user": "y"}),
     ("PATCH", "/ldap/url", {"user": "y"}), ("PATCH", "/security_compliance", {"security_compliance": {"a": 1}}),
     ("GET", "/security_compliance", None)],
)  # fmt: skip
def test_what_no_domain_can_have(cloud: Cloud, method: str, part: str, config: Any) -> None:
    path = f"/domains/{cloud.make('domain', name='d')['id']}/config"
    cloud.ok("PUT", path, {"config": CONFIG}, status=201)
    assert status(cloud, method, f"{path}{part}", config) == 403
    assert cloud.ok("GET", path) == {"config": CONFIG}


def test_passwords_are_encrypted_and_never_shown(any_cloud: Cloud, domain: str) -> None:
    cloud = any_cloud
    config = {"ldap": {"url": "ldap://%(user)s:%(password)s@directory", "user": "cn=me", "password": "open sesame"}}
    shown = {"ldap": {"url": config["ldap"]["url"], "user": "cn=me"}}
    assert cloud.ok("PUT", domain, {"config": config}, status=201) == {"config": shown}
    assert cloud.ok("GET", domain) == {"config": shown}
    assert status(cloud, "GET", f"{domain}/ldap/password") == 404
    assert cloud.ok("PATCH", f"{domain}/ldap/password", {"config": {"password": "sesame two"}}) == {"config": shown}
    with cloud.db.read() as tx:
        assert "sesame" not in str(tx.all(sa.select(domain_option)))
        known = cloud.identity.domain_configs.get(tx, domain.split("/")[2])
    assert known["ldap"] == {"url": "ldap://%(user)s:sesame two@directory", "user": "cn=me", "password": "sesame two"}
    cloud.ok("DELETE", f"{domain}/ldap/password")
    with cloud.db.read() as tx:
        assert cloud.identity.domain_configs.get(tx, domain.split("/")[2]) == shown


def test_a_domain_takes_its_configuration_along(any_cloud: Cloud, domain: str) -> None:
    cloud = any_cloud
    cloud.ok("PUT", domain, {"config": CONFIG}, status=201)
    path = domain.removesuffix("/config")
    cloud.ok("PATCH", path, {"domain": {"enabled": False}})
    cloud.ok("DELETE", path)
    assert status(cloud, "GET", domain) == 404
    with cloud.db.read() as tx:
        assert cloud.identity.domain_configs.get(tx, path.split("/")[2]) == {}


def test_defaults(cloud: Cloud) -> None:
    assert cloud.ok("GET", "/domains/config/default")["config"] == DEFAULTS
    assert cloud.ok("GET", "/domains/config/identity/default") == {"config": {"identity": DEFAULTS["identity"]}}
    assert cloud.ok("GET", "/domains/config/ldap/query_scope/default") == {"config": {"query_scope": "one"}}
    for refused in ("token/default", "ldap/colour/default", "ldap/password/default"):
        assert status(cloud, "GET", f"/domains/config/{refused}") == 403


def test_what_passwords_must_look_like(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock
) -> None:
    rules = SecurityComplianceSettings(password_regex=".{7,}", password_regex_description="seven characters")
    for cloud in cloud_on(sqlite, replace(settings, security_compliance=rules), tmp_path, clock):
        path = "/domains/default/config/security_compliance"
        known = {"password_regex": ".{7,}", "password_regex_description": "seven characters"}
        assert cloud.ok("GET", path) == {"config": {"security_compliance": known}}
        for name, value in known.items():
            assert cloud.ok("GET", f"{path}/{name}") == {"config": {name: value}}


def test_who_may(cloud: Cloud) -> None:
    domain = cloud.make("domain", name="d")["id"]
    cloud.ok("PUT", f"/domains/{domain}/config", {"config": CONFIG}, status=201)
    manager = cloud.user_with("manager", f"domains/{domain}")
    watcher = cloud.user_with("reader", "system", name="watcher")
    tokens = [
        cloud.token({"domain": {"id": domain}}, id=manager["id"], password="secret"),
        cloud.token({"system": {"all": True}}, id=watcher["id"], password="secret"),
    ]

    def statuses(method: str, path: str, body: Any = None) -> list[int]:
        return [cloud.call(method, path, body, token=token).status_code for token in tokens]

    assert statuses("GET", f"/domains/{domain}/config") == [403, 200]
    assert statuses("GET", "/domains/none/config") == [403, 404]
    assert statuses("PATCH", f"/domains/{domain}/config", {"config": CONFIG}) == [403, 403]
    assert statuses("DELETE", f"/domains/{domain}/config") == [403, 403]
    assert statuses("GET", "/domains/config/default") == [403, 200]
    assert statuses("GET", "/domains/default/config/security_compliance") == [200, 200]
    assert statuses("GET", "/domains/default/config/security_compliance/password_regex") == [200, 200]
    assert statuses("GET", "/domains/default/config/security_compliance/lockout_duration") == [403, 403]
