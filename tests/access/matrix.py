"""Every operation of a service as every persona, compared with what the policy says.

A refusal must be the right one: 401 of somebody unknown, 404 of what the caller cannot see, 403 of what it sees and may
not touch; and it must leave everything as it was. What is allowed must succeed. A list must show nothing that its
caller could not also look at by itself.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pileus.kernel.auth import Actor
from pileus.kernel.http import Route, Service
from pileus.kernel.policy import PUBLIC, Policy
from tests.access.stage import Stage, Thing

Body = Callable[[Stage], Any]


@dataclass(frozen=True)
class Attempt:
    """How an operation is tried: a request that succeeds for whoever may make it.

    `thing` makes what the request is about; it is made anew when a request has changed it. `kinds` of things differ in
    who sees them. `rule` is asked instead of the route's, where the body decides; `also` are rules that must hold
    besides. `shows`: the paths, below the service's, of all that an answer lists. `answer`: the status of what is
    allowed, where no request succeeds. `besides`: persona -> the status of what the rules allow it, and something else
    does not. `query`: what follows the path, filled with the thing's `params` like it.
    """

    thing: Callable[[Stage, str], Thing]
    kinds: tuple[str, ...] = ("",)
    body: Body = lambda _stage: None
    headers: Mapping[str, str] = field(default_factory=dict)
    rule: str | None = None
    also: tuple[str, ...] = ()
    shows: Callable[[Any, Thing], Iterable[str]] | None = None
    query: str = ""
    answer: int = 200
    besides: Mapping[str, int] = field(default_factory=dict)


Attempts = Mapping[str, Attempt]
"""By method and path, as the route table has them: "GET /images/{image_id}". Further attempts of an operation
say which in parentheses: "PATCH /images/{image_id} (publicize)"."""


@dataclass
class Findings:
    """What a matrix was found to be. `rows`: operation and kind -> the status for each persona."""

    personas: tuple[str, ...] = ()
    rows: dict[str, list[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        width = max(map(len, self.rows), default=0)
        head = " " * width + "".join(f"{persona:>15}" for persona in self.personas)
        lines = (f"{name:{width}}" + "".join(f"{status:>15}" for status in row) for name, row in self.rows.items())
        return "\n".join((head, *lines))


def name_of(route: Route[Any]) -> str:
    """The key of a route in a table of attempts."""
    return " ".join(filter(None, (route.method, route.path, route.action)))


def unprepared(service: Service[Any], attempts: Attempts) -> list[str]:
    """Routes without an attempt, and attempts without a route."""
    return sorted(set(map(name_of, service.routes)) ^ {_route_of(name) for name in attempts})


def _route_of(name: str) -> str:
    return name.partition(" (")[0]


def rules_of(service: Service[Any], attempts: Attempts) -> set[str]:
    """The rules that a matrix asks."""
    asked = {route.rule for route in service.routes}
    for attempt in attempts.values():
        asked |= {*attempt.also, *filter(None, [attempt.rule])}
    return asked


def expected(policy: Policy, route: Route[Any], attempt: Attempt, thing: Thing, actor: Actor | None) -> int:
    """The status that the rules ask for: 401, 403, 404, or 200 for every success."""
    if route.rule == PUBLIC:
        return attempt.answer
    if actor is None:
        return 401
    if not route.targeted and not policy.allows(route.rule, actor):
        return 403
    if not thing.seen_by(actor):
        return 404
    target = thing.target(actor) if thing.target else None
    allowed = all(policy.allows(rule, actor, target) for rule in (attempt.rule or route.rule, *attempt.also))
    return attempt.answer if allowed else 403


def examine(stage: Stage, service: Service[Any], policy: Policy, attempts: Attempts) -> Findings:
    """Make all attempts; what they came to. `policy`: the rules that ought to be in force."""
    findings = Findings(tuple(stage.apis))
    for route in service.routes:
        for name, attempt in attempts.items():
            if _route_of(name) == name_of(route):
                for kind in attempt.kinds:
                    _examine(stage, service, policy, route, attempt, f"{name} {kind}".rstrip(), kind, findings)
    return findings


def _examine(
    stage: Stage,
    service: Service[Any],
    policy: Policy,
    route: Route[Any],
    attempt: Attempt,
    name: str,
    kind: str,
    findings: Findings,
) -> None:
    row = findings.rows.setdefault(name, [])
    thing: Thing | None = None
    shown: list[str] = []
    for persona in stage.apis:
        thing = thing or attempt.thing(stage, kind)
        wanted = expected(policy, route, attempt, thing, stage.actors[persona])
        wanted = attempt.besides.get(persona, wanted) if wanted == attempt.answer else wanted
        before, body = stage.state(), attempt.body(stage) if thing.body is None else thing.body
        path = service.prefix + (route.path + attempt.query).format(**thing.params)
        answer = stage.apis[persona].call(route.method, path, body, **{**attempt.headers, **thing.headers})
        row.append(answer.status_code)
        said = f"{name} as {persona}: {answer.status_code} {answer.text[:200]!r}"
        if (200 if answer.status_code < 300 else answer.status_code) != wanted:
            findings.wrong.append(f"{said}, and not {wanted}")
        if answer.status_code >= 300:
            after = stage.state()
            findings.wrong += [f"{said}, and yet {part} changed" for part in after if after[part] != before.get(part)]
            continue
        if attempt.shows is not None:
            paths = list(attempt.shows(answer.json, thing))
            shown += paths
            refused = [path for path in paths if _status(stage, persona, service, path) != 200]
            findings.wrong += [f"{name} as {persona}: shows {path}, which is refused" for path in refused]
        if route.method not in ("GET", "HEAD"):
            thing = None
    if attempt.shows is not None and not shown:
        findings.wrong.append(f"{name} shows nothing to anybody")


def _status(stage: Stage, persona: str, service: Service[Any], path: str) -> int:
    return stage.apis[persona].call("GET", service.prefix + path).status_code
