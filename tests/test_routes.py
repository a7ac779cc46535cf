"""The route tables of all services together: each operation once, each with a rule that exists."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from pileus import api
from pileus.kernel.http import Route, Service
from pileus.kernel.policy import PUBLIC
from tests.world import World

PUBLIC_ROUTES = {
    "POST /identity/v3/auth/tokens",  # logging in
    "POST /identity/v3/users/{}/password",  # the old password is the proof: it may have expired
    "POST /identity/v3/OS-OAUTH1/request_token",  # these two are signed with a consumer's secret
    "POST /identity/v3/OS-OAUTH1/access_token",
    "POST /identity/v3/OS-OAUTH2/token",  # logging in with an application credential
    "GET /identity/v3/OS-SIMPLE-CERT/ca",  # these three are gone, for everybody
    "GET /identity/v3/OS-SIMPLE-CERT/certificates",
    "GET /identity/v3/auth/tokens/OS-PKI/revoked",
    *(  # the identity provider's token is the proof, or the browser is sent to the provider
        f"{method} /identity/v3/{path}"
        for method in ("GET", "POST")
        for path in (
            "OS-FEDERATION/identity_providers/{}/protocols/{}/auth",
            "auth/OS-FEDERATION/websso/{}",
            "auth/OS-FEDERATION/identity_providers/{}/protocols/{}/websso",
            "auth/OS-FEDERATION/identity_providers/{}/protocol/{}/websso",
        )
    ),
    "GET /identity/v3/auth/OS-FEDERATION/identity_providers/{}/protocols/{}/redirect_uri",
    "GET /identity/v3/OS-FEDERATION/saml2/metadata",  # these three are not offered, to nobody
    "POST /identity/v3/auth/OS-FEDERATION/saml2",
    "POST /identity/v3/auth/OS-FEDERATION/saml2/ecp",
    "POST /agent/v1/hosts/{}/report",  # these four prove themselves by the host's secret
    "POST /agent/v1/hosts/{}/power",
    "POST /agent/v1/hosts/{}/servers/{}/password",
    "GET /agent/v1/hosts/{}/images/{}/data",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), hosts=()) as made:
        yield made


@pytest.fixture(scope="module")
def services(world: World) -> tuple[Service[Any], ...]:
    return api.services(world.cloud, "secret")


def nameless(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def operation(service: Service[Any], route: Route[Any]) -> str:
    return f"{route.method} {nameless(service.prefix + route.path)}"


def test_every_route_names_a_rule_that_exists(world: World, services: tuple[Service[Any], ...]) -> None:
    missing = {
        f"{operation(service, route)}: {route.rule}"
        for service in services
        for route in service.routes
        if route.rule != PUBLIC and route.rule not in world.cloud.policy.rules
    }
    assert missing == set()
    assert sum(len(service.routes) for service in services) > 100


def test_only_these_routes_need_no_token(services: tuple[Service[Any], ...]) -> None:
    public = {operation(service, route) for service in services for route in service.routes if route.rule == PUBLIC}
    assert public == PUBLIC_ROUTES


def test_every_operation_is_there_once(services: tuple[Service[Any], ...]) -> None:
    twice = [
        f"{operation(service, one)} {one.action or ''}"
        for service in services
        for one, other in combinations(service.routes, 2)
        if (one.method, nameless(one.path), one.action) == (other.method, nameless(other.path), other.action)
        and one.window.overlaps(other.window)
    ]
    assert twice == []


def test_actions_share_their_path_with_actions_only(services: tuple[Service[Any], ...]) -> None:
    """The dispatcher looks at the first route of a path to see whether the body names an action."""
    mixed = [
        operation(service, one)
        for service in services
        for one, other in combinations(service.routes, 2)
        if (one.method, one.path) == (other.method, other.path)
        and one.window.overlaps(other.window)
        and (one.action is None or other.action is None)
    ]
    assert mixed == []


def test_services_do_not_meet(services: tuple[Service[Any], ...]) -> None:
    prefixes = [service.prefix for service in services]
    assert len(set(prefixes)) == len(prefixes)
    for one, other in combinations(prefixes, 2):
        assert not f"{one}/".startswith(f"{other}/")
        assert not f"{other}/".startswith(f"{one}/")


def test_a_parameter_has_one_name_at_one_place(services: tuple[Service[Any], ...]) -> None:
    """Falcon's router needs it, and readers too."""
    for service in services:
        names: dict[str, set[str]] = {}
        for route in service.routes:
            steps = route.path.split("/")
            for position, step in enumerate(steps):
                if step.startswith("{"):
                    names.setdefault(nameless("/".join(steps[:position])), set()).add(step)
        assert {place: found for place, found in names.items() if len(found) > 1} == {}, service.name


def test_the_application_routes_each_operation_to_its_service(world: World, services: tuple[Service[Any], ...]) -> None:
    """Falcon accepts the tables; without a token, what is not public answers 401 and never 404 or 405."""
    for service in services:
        for route in service.routes:
            path = (service.prefix + route.path).replace("{", "").replace("}", "")
            answer = world.client.simulate_request(route.method, path)
            expected = {400, 401, 403, 410, 501} if route.rule == PUBLIC else {401}
            assert answer.status_code in expected, f"{route.method} {path}: {answer.status_code}"
            for header in service.request_id_headers:
                assert answer.headers[header].startswith("req-")
