"""Who may do what, over HTTP: the policy's word is kept, operation by operation. With `-s` the matrix is printed."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from pileus import api
from pileus.identity import policy as identity_policy
from pileus.image import policy as image_policy
from pileus.kernel.http import Service
from pileus.kernel.policy import Policy
from tests.access import identity, image
from tests.access.domains import DomainStage
from tests.access.matrix import Attempt, Attempts, Findings, examine, rules_of, unprepared
from tests.access.stage import ADMIN, ANONYMOUS, MEMBER, READER, STRANGER, Stage, Thing
from tests.web import serving
from tests.world import World

SHOW = "GET /images/{image_id}"
CHANGE = "PATCH /images/{image_id}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("world")
    with (
        serving() as web,
        World(directory, hosts=(), settings=image.SETTINGS, configuration=image.STORES) as world,
    ):
        web.files["/image"] = image.DATA
        with closing(Stage(world, f"{web.url}/image")) as made:
            yield made


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainStage]:
    with (
        World(tmp_path_factory.mktemp("domains"), hosts=()) as world,
        closing(DomainStage(world)) as made,
    ):
        yield made


def service_of(stage: Stage, name: str) -> Service[Any]:
    return next(service for service in api.services(stage.world.cloud, "secret") if service.name == name)


def defaults(stage: Stage, **other: str) -> Policy:
    """The rules as they are delivered, with others in the place of some."""
    return Policy(stage.world.cloud.policy.rules.values(), other)


def found(stage: Stage, policy: Policy, *names: str, attempts: Attempts = image.ATTEMPTS) -> Findings:
    return examine(stage, service_of(stage, "image"), policy, {name: attempts[name] for name in names})


def keeps_its_word(stage: Stage, name: str, attempts: Attempts) -> None:
    """Whether a service does what the policy says, for every operation and persona."""
    service = service_of(stage, name)
    assert unprepared(service, attempts) == []
    findings = examine(stage, service, defaults(stage), attempts)
    print(f"\n{findings}\n{name}: {len(findings.rows)} attempts for {len(findings.personas)} personas")
    assert findings.wrong == []
    assert len(findings.rows) >= len(service.routes)


def test_every_operation_on_images_for_every_persona(stage: Stage) -> None:
    keeps_its_word(stage, "image", image.ATTEMPTS)


def test_every_operation_on_identity_for_every_persona(domains: DomainStage) -> None:
    keeps_its_word(domains, "identity", identity.ATTEMPTS)


def test_every_rule_is_asked_by_some_operation(stage: Stage) -> None:
    asked = rules_of(service_of(stage, "image"), image.ATTEMPTS)
    assert {rule.name for rule in image_policy.RULES} - asked == {*image.RULES_WITHIN}
    asked = rules_of(service_of(stage, "identity"), identity.ATTEMPTS)
    assert {rule.name for rule in identity_policy.RULES} - asked == {*identity.RULES_WITHIN}


# --- the matrix can fail ------------------------------------------------------------------------------------


def test_a_route_that_nobody_prepared_is_found(stage: Stage) -> None:
    fewer = {name: attempt for name, attempt in image.ATTEMPTS.items() if name != SHOW}
    more = {**image.ATTEMPTS, "GET /weather": image.ATTEMPTS["GET /cache"]}
    assert unprepared(service_of(stage, "image"), fewer) == [SHOW]
    assert unprepared(service_of(stage, "image"), more) == ["GET /weather"]


def test_a_wrong_rule_is_found_whichever_way_it_is_wrong(stage: Stage) -> None:
    lax = found(stage, defaults(stage, modify_image="role:reader"), CHANGE)
    assert any(line.startswith(f"{CHANGE} private as reader: 403") for line in lax.wrong)
    assert any(line.startswith(f"{CHANGE} public as stranger: 403") for line in lax.wrong)
    assert not any(" as member" in line or " private as stranger" in line for line in lax.wrong)
    strict = found(stage, defaults(stage, modify_image="role:admin"), CHANGE)
    assert {line.split(": ")[0] for line in strict.wrong} == {f"{CHANGE} {kind} as member" for kind in image.KINDS}


def test_what_is_seen_by_too_many_or_too_few_is_found(stage: Stage) -> None:
    def for_all(stage: Stage, kind: str) -> Thing:
        return replace(image.image(stage, kind), seen_by=lambda _actor: True)

    def for_none(stage: Stage, kind: str) -> Thing:
        return replace(image.image(stage, kind), seen_by=lambda _actor: False)

    few = found(stage, defaults(stage), SHOW, attempts={SHOW: Attempt(for_all, ("private", "public"))})
    assert [line.split(" '")[0] for line in few.wrong] == [f"{SHOW} private as stranger: 404"]
    many = found(stage, defaults(stage), SHOW, attempts={SHOW: Attempt(for_none, ("private",))})
    assert {line.split(": ")[0] for line in many.wrong} == {
        f"{SHOW} private as {persona}" for persona in (READER, MEMBER, ADMIN)
    }


def test_a_list_that_shows_too_much_or_nothing_is_found(stage: Stage) -> None:
    name = "GET /images"
    hidden = image.image(stage, "private").params["image_id"]
    leaky = Attempt(image.nothing, shows=lambda _body, _thing: [f"/images/{hidden}"])
    assert found(stage, defaults(stage), name, attempts={name: leaky}).wrong == [
        f"{name} as {STRANGER}: shows /images/{hidden}, which is refused"
    ]
    silent = Attempt(image.nothing, shows=lambda _body, _thing: [])
    assert found(stage, defaults(stage), name, attempts={name: silent}).wrong == [f"{name} shows nothing to anybody"]


def test_a_refusal_that_changes_something_is_found(stage: Stage) -> None:
    def meanwhile(stage: Stage) -> None:
        image.queued(stage, "private")

    sly = replace(image.ATTEMPTS["DELETE /cache"], body=meanwhile)
    wrong = found(stage, defaults(stage), "DELETE /cache", attempts={"DELETE /cache": sly}).wrong
    assert {line.split(": ")[0] for line in wrong} == {
        f"DELETE /cache as {persona}" for persona in (ANONYMOUS, READER, MEMBER, STRANGER)
    }
    assert any(line.endswith(", and yet image changed") for line in wrong)
