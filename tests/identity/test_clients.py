"""The official clients against a real server on the loopback interface."""

import threading
from collections.abc import Iterator
from pathlib import Path

import keystoneauth1.exceptions
import openstack
import pytest
from cheroot.wsgi import Server
from keystoneauth1 import session
from keystoneauth1.identity import v3
from keystoneclient.v3.client import Client
from keystoneclient.v3.contrib.oauth1.consumers import ConsumerManager

from pileus.identity.routes import make_service
from pileus.identity.settings import IdentitySettings
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.clock import FakeClock, SystemClock
from pileus.kernel.db import Database
from tests.identity.conftest import ADMIN_PASSWORD, Cloud


class Served:
    """A cloud that answers on a port."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.server = Server(("127.0.0.1", 0), self._app, numthreads=4)
        self.server.prepare()
        self.url = f"http://127.0.0.1:{self.server.bind_addr[1]}"
        dispatcher = Dispatcher(cloud.db, cloud.policy, cloud.identity, self.url)
        self.app = make_app(dispatcher, [make_service(cloud.identity)])
        cloud.bootstrap(public_url=self.url)
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()

    def _app(self, environ, start_response):  # type: ignore[no-untyped-def]
        return self.app(environ, start_response)

    def session(self, password: str = ADMIN_PASSWORD, name: str = "admin", **scope: str) -> session.Session:
        """A keystoneauth session of a user of the default domain."""
        auth = v3.Password(f"{self.url}/identity", username=name, password=password, user_domain_id="default", **scope)
        return session.Session(auth=auth)


@pytest.fixture
def served(sqlite: Database, settings: IdentitySettings, tmp_path: Path) -> Iterator[Served]:
    cloud = Cloud(sqlite, settings, tmp_path / "run", FakeClock(SystemClock().now()))
    served = Served(cloud)
    yield served
    served.server.stop()
    served.thread.join(5)
    cloud.generation.close()


def test_keystoneclient(served: Served) -> None:
    client = Client(session=served.session(project_name="admin", project_domain_id="default"))
    project = client.projects.create("one", "default", description="d")
    user = client.users.create("ann", domain="default", password="secret", default_project=project, email="a@b")
    role = next(one for one in client.roles.list() if one.name == "member")
    client.roles.grant(role, user=user, project=project)
    assert client.roles.check(role, user=user, project=project)
    assert [one.id for one in client.projects.list(user=user)] == [project.id]
    assert client.users.get(user).email == "a@b"

    mine = Client(session=served.session("secret", "ann"))
    assert mine.session.get_project_id() == project.id, "the default project"
    mine.users.update_password("secret", "better secret")
    with pytest.raises(keystoneauth1.exceptions.Unauthorized):
        served.session("secret", "ann").get_token()
    assert served.session("better secret", "ann").get_token()

    client.tokens.revoke_token(served.session("better secret", "ann").get_token())
    client.projects.update(project, enabled=False)
    client.projects.delete(project)
    with pytest.raises(keystoneauth1.exceptions.NotFound):
        client.projects.get(project)


def test_endpoint_filters_and_policies(served: Served) -> None:
    """As the commands `openstack endpoint group` and `openstack endpoint add project` use them."""
    client = Client(session=served.session(project_name="admin", project_domain_id="default"))
    project = client.projects.create("one", "default")
    service = client.services.create("nimbus", type="weather")
    endpoint = client.endpoints.create(service, "http://w", interface="public", region="RegionOne")
    group = client.endpoint_groups.create("g", {"service_id": service.id}, description="d")
    assert client.endpoint_groups.get(group).filters == {"service_id": service.id}
    assert client.endpoint_groups.update(group, name="h").name == "h"
    assert [one.id for one in client.endpoint_groups.list(name="h")] == [group.id]
    filters = client.endpoint_filter
    filters.add_endpoint_group_to_project(group, project)
    filters.check_endpoint_group_in_project(group, project)
    assert [one.id for one in filters.list_endpoint_groups_for_project(project)] == [group.id]
    assert [one.id for one in filters.list_projects_for_endpoint_group(group)] == [project.id]
    assert [one.id for one in filters.list_endpoints_for_project(project)] == [endpoint.id]
    filters.delete_endpoint_group_from_project(group, project)
    filters.add_endpoint_to_project(project, endpoint)
    filters.check_endpoint_in_project(project, endpoint)
    assert [one.id for one in filters.list_projects_for_endpoint(endpoint)] == [project.id]
    filters.delete_endpoint_from_project(project, endpoint)
    client.endpoint_groups.delete(group)

    policy = client.policies.create("{}", type="application/json")
    places = client.endpoint_policy
    places.create_policy_association_for_service(policy, service)
    places.create_policy_association_for_endpoint(policy, endpoint)
    places.create_policy_association_for_region_and_service(policy, "RegionOne", service)
    places.check_policy_association_for_region_and_service(policy, "RegionOne", service)
    assert places.get_policy_for_endpoint(endpoint).id == policy.id
    assert [one.id for one in places.list_endpoints_for_policy(policy)] == [endpoint.id]
    places.delete_policy_association_for_endpoint(policy, endpoint)


def test_domain_configs_and_consumers(served: Served) -> None:
    client = Client(session=served.session(project_name="admin", project_domain_id="default"))
    domain = client.domains.create("far")
    config = {"ldap": {"url": "ldap://directory", "user": "cn=me"}}
    assert client.domain_configs.create(domain, {"ldap": {**config["ldap"], "password": "p"}}).ldap == config["ldap"]
    changed = client.domain_configs.update(domain, {"ldap": {"url": "ldap://other"}})
    assert changed.ldap["url"] == client.domain_configs.get(domain).ldap["url"] == "ldap://other"
    client.domain_configs.delete(domain)
    with pytest.raises(keystoneauth1.exceptions.NotFound):
        client.domain_configs.get(domain)

    consumers = ConsumerManager(client._adapter)  # client.oauth1 wants oauthlib, which these do not need
    consumer = consumers.create(description="d")
    assert consumer.secret
    assert consumers.update(consumer, description="e").description == "e"
    assert [one.id for one in consumers.list()] == [consumer.id]
    consumers.delete(consumer)
    project = client.projects.create("up", "default")
    child = client.projects.create("down", "default", parent=project)
    assert client.projects.get(child, parents_as_ids=True).parents == {project.id: {"default": None}}
    assert client.projects.get(project, subtree_as_ids=True).subtree == {child.id: None}


def test_openstacksdk(served: Served) -> None:
    cloud = openstack.connection.Connection(
        session=served.session(project_name="admin", project_domain_name="Default"), region_name="RegionOne"
    )
    domain = cloud.identity.create_domain(name="far")
    project = cloud.identity.create_project(name="one", domain_id=domain.id, tags=["x"])
    group = cloud.identity.create_group(name="crew", domain_id=domain.id)
    user = cloud.identity.create_user(name="ann", domain_id=domain.id, password="secret")
    role = cloud.identity.find_role("reader")
    cloud.identity.assign_project_role_to_group(project, group, role)
    cloud.identity.add_user_to_group(user, group)
    assert cloud.identity.validate_group_has_project_role(project, group, role)
    found = list(cloud.identity.role_assignments(user_id=user.id, effective=True))
    assert [(one.scope["project"]["id"], one.role["id"]) for one in found] == [(project.id, role.id)]
    assert cloud.identity.find_user("ann", domain_id=domain.id).id == user.id
    assert {service.type for service in cloud.identity.services()} == {"identity", "image", "compute", "network"}
    assert {endpoint.interface for endpoint in cloud.identity.endpoints()} == {"public", "internal", "admin"}
    assert [region.id for region in cloud.identity.regions()] == ["RegionOne"]
    assert cloud.get_user("admin").name == "admin"
    cloud.identity.update_domain(domain, is_enabled=False)
    cloud.identity.delete_domain(domain)
    assert cloud.identity.find_project(project.id) is None


def test_unified_limits(served: Served) -> None:
    """With the SDK, on which the commands `openstack registered limit` and `openstack limit` stand."""
    login = served.session(project_name="admin", project_domain_name="Default")
    identity = openstack.connection.Connection(session=login, region_name="RegionOne").identity
    project, service = identity.find_project("admin"), identity.find_service("glance")
    what = {"service_id": service.id, "resource_name": "snaps", "region_id": "RegionOne"}
    registered = identity.create_registered_limit(default_limit=10, **what)
    assert (registered.default_limit, registered.region_id) == (10, "RegionOne")
    identity.update_registered_limit(registered, default_limit=11, description="d")
    limit = identity.create_limit(project_id=project.id, resource_limit=5, **what)
    assert (limit.resource_limit, limit.project_id) == (5, project.id)
    assert identity.update_limit(limit, resource_limit=6).resource_limit == 6
    assert [one.id for one in identity.limits(resource_name="snaps")] == [limit.id]
    with pytest.raises(openstack.exceptions.ForbiddenException):
        identity.delete_registered_limit(registered)
    with pytest.raises(openstack.exceptions.ConflictException):
        identity.create_limit(project_id=project.id, resource_limit=5, **what)

    client = Client(session=login)
    assert client.limits.update(limit.id, resource_limit=-1).resource_limit == -1
    assert client.registered_limits.get(registered.id).default_limit == 11
    assert [one.id for one in client.limits.list(service=service.id, region="RegionOne")] == [limit.id]
    identity.delete_limit(limit, ignore_missing=False)
    identity.delete_registered_limit(registered, ignore_missing=False)
    assert list(identity.registered_limits()) == []
