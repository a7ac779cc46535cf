"""What OpenStack documents of its APIs, compared with what is served here.

The facts are files of JSON, one for each service, that are no part of this repository: `PILEUS_API_FACTS` names their
directory. Where there are none, there is nothing to compare with.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus import api
from pileus.kernel.http import Route, Service
from tests.world import World

FACTS = Path(os.environ.get("PILEUS_API_FACTS") or Path(__file__).parents[2] / "shared" / "api")

_VERSION_2 = "Version 2 of the API ended long ago; version 3 has the same operation."
_EC2_OF_VERSION_2 = "/v2.0/users/{userId}/credentials/OS-EC2"
_A_SLIP = "Keystone has no such path: the description and the answer are of /v3/endpoints/{endpoint_id}/..., served."
NOT_SERVED: dict[str, dict[str, str]] = {
    "identity": {
        "POST /v2.0/ec2tokens": _VERSION_2,
        f"POST {_EC2_OF_VERSION_2}": _VERSION_2,
        f"GET {_EC2_OF_VERSION_2}": _VERSION_2,
        f"GET {_EC2_OF_VERSION_2}/{{credentialId}}": _VERSION_2,
        f"DELETE {_EC2_OF_VERSION_2}/{{credentialId}}": _VERSION_2,
        "GET /v3/policies/{policy_id}/OS-ENDPOINT-POLICY/policy": _A_SLIP,
        "HEAD /v3/policies/{policy_id}/OS-ENDPOINT-POLICY/policy": _A_SLIP,
    },
    "image": {},
}
"""For each service that is said to be complete: the operations ("GET /v2/images") that it lacks, and why."""


@dataclass(frozen=True)
class Operation:
    """One documented operation. `action`: the key of the body that names it, where a path has several."""

    method: str
    path: str
    action: str | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.method, self.path, self.action)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), hosts=()) as made:
        yield made


def documented(name: str) -> tuple[Operation, ...]:
    """All operations of a service, in the order of the documentation; each once."""
    facts = msgspec.json.decode((FACTS / f"{name}.json").read_bytes())
    return tuple(dict.fromkeys(Operation(fact["method"], _path(fact), _action(fact)) for fact in facts))


def _path(fact: dict[str, Any]) -> str:
    """The path from the version on, without the query that some are documented with."""
    path: str = fact["path"].partition("?")[0]
    return path.removeprefix("/identity")


def _action(fact: dict[str, Any]) -> str | None:
    if not fact["path"].endswith("/action"):
        return None
    named = re.search(r"\((\S+) Action\)", fact["title"])
    if named:
        return named.group(1)
    return next((field["name"] for field in fact.get("request", ()) if field["in"] == "body"), None)


def judge(name: str, wanted: Iterable[Operation], served: set[Operation]) -> list[str]:
    """What is wrong with a service's table of reasons, one line each."""
    reasons = dict(NOT_SERVED[name])
    wrong = []
    for operation in wanted:
        reason = reasons.pop(str(operation), None)
        if operation in served and reason is not None:
            wrong.append(f"{operation} is served, and yet there is a reason why not: {reason}")
        elif operation not in served and not reason:
            wrong.append(f"{operation} is not served, and nothing says why")
    return wrong + [f"{operation} has a reason, and is documented nowhere" for operation in reasons]


def is_served(operation: Operation, services: Iterable[Service[Any]], world: World) -> bool:
    """Whether one of the services has a route for it. A word in the place of a route's parameter is asked for."""
    fits = set()
    for service in services:
        if operation.method == "GET" and operation.path in service.documents:
            return True
        path = operation.path.removeprefix("/" + service.prefix.rsplit("/", 1)[-1])
        for route in service.routes:
            if (route.method, route.action) in _answering(operation):
                fits.add((_fit(path, route), service.prefix + path))
    if any(fit == "exact" for fit, _ in fits):
        return True
    words = [path for fit, path in fits if fit == "word"]
    return any(operation.method != "GET" or world.admin.call("GET", path).status_code == 200 for path in words)


def _answering(operation: Operation) -> set[tuple[str, str | None]]:
    """The routes that answer an operation, by method and action: GET's answer HEAD too."""
    methods = {"HEAD", "GET"} if operation.method == "HEAD" else {operation.method}
    return {(method, operation.action) for method in methods}


def _fit(path: str, route: Route[Any]) -> str:
    """How a documented path fits a route: "exact", or "word" where it has a word in place of a parameter; else ""."""
    ours, theirs = route.path.split("/"), path.split("/")
    if len(ours) != len(theirs):
        return ""
    fit = "exact"
    for own, documented_step in zip(ours, theirs, strict=True):
        if own.startswith("{") and not documented_step.startswith("{"):
            fit = "word"
        elif not own.startswith("{") and own != documented_step:
            return ""
    return fit


@pytest.mark.skipif(not FACTS.is_dir(), reason="the facts of the documented APIs are not here")
@pytest.mark.parametrize("name", ["identity", "image", "compute", "network"])
def test_what_is_documented_is_served_or_has_a_reason(
    name: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    services = [service for service in api.services(world.cloud, "secret") if service.name == name]
    wanted = documented(name)
    served = {operation for operation in wanted if is_served(operation, services, world)}
    with capsys.disabled():
        print(f"\n{name}: {len(served)} of {len(wanted)} documented operations served")
        for operation, reason in NOT_SERVED.get(name, {}).items():
            print(f"  {operation}: {reason}")
    assert served
    if name in NOT_SERVED:
        assert judge(name, wanted, served) == []


def test_the_comparison_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    there, gone, new = Operation("GET", "/a"), Operation("GET", "/b"), Operation("POST", "/s/action", "fly")
    monkeypatch.setitem(NOT_SERVED, "weather", {"GET /a": "too hard", "GET /c": "it was never there"})
    assert judge("weather", (there, gone, new), {there}) == [
        "GET /a is served, and yet there is a reason why not: too hard",
        "GET /b is not served, and nothing says why",
        "POST /s/action fly is not served, and nothing says why",
        "GET /c has a reason, and is documented nowhere",
    ]
    monkeypatch.setitem(NOT_SERVED, "weather", {"GET /b": "no", "POST /s/action fly": "it has no wings"})
    assert judge("weather", (there, gone, new), {there}) == []
