"""GET /role_assignments: assignments as they are stored, or what follows from them ("effective")."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pileus.identity import models
from pileus.identity.domain import Assignment, AssignmentFilter, Project
from pileus.identity.projects import store as projects_store
from pileus.identity.rest import missing
from pileus.identity.roles import store
from pileus.identity.roles.graph import Graph, read_graph
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The filters of the request.

    `within`: the domain that the caller's token is for, and may see. `at`: the moment, for groups that users are in
    for some time.
    """

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool = False
    effective: bool = False
    include_names: bool = False
    include_subtree: bool = False
    within: str | None = None
    at: int


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of the answer: what is assigned, or follows from `source`.

    `prior_role_id`: the assigned role, where this one is implied by it.
    """

    assignment: Assignment
    source: Assignment
    prior_role_id: str | None = None


def answer(tx: Tx, question: Question) -> list[Entry]:
    """The entries that the question asks for. BadRequest for filters that contradict each other."""
    _check(question)
    projects = _projects(tx, question)
    if not question.effective:
        found = store.assignments(
            tx,
            AssignmentFilter(
                user_id=question.user_id,
                group_id=question.group_id,
                role_id=question.role_id,
                projects=projects,
                domain_id=question.domain_id,
                system=question.system,
                inherited=True if question.inherited else None,
                in_domain=question.within,
            ),
        )
        return [Entry(assignment=one, source=one) for one in found]
    sources = store.assignments(
        tx,
        AssignmentFilter(
            user_id=question.user_id,
            groups_at=question.at,
            projects=projects,
            with_inherited=True,
            domain_id=question.domain_id,
            system=question.system,
            inherited=False if question.domain_id or question.system else (True if question.inherited else None),
            in_domain=question.within,
        ),
    )
    unique: dict[Assignment, Entry] = {}
    for entry in _expanded(tx, sources, question, projects):
        unique.setdefault(entry.assignment, entry)
    return list(unique.values())


def _check(question: Question) -> None:
    if sum((question.project_id is not None, question.domain_id is not None, question.system)) > 1:
        raise BadRequest("Specify a domain, a project or the system, not several of them.")
    if question.user_id is not None and question.group_id is not None:
        raise BadRequest("Specify a user or a group, not both.")
    if question.effective and question.group_id is not None:
        raise BadRequest("Combining effective and group filter will always result in an empty list.")
    if question.effective and question.inherited and question.domain_id is not None:
        raise BadRequest("Combining effective, domain and inherited filters will always result in an empty list.")
    if question.include_subtree and question.project_id is None:
        raise BadRequest("scope.project.id must be specified if include_subtree is also specified.")


def _projects(tx: Tx, question: Question) -> list[Project] | None:
    if question.project_id is None:
        return None
    project = projects_store.get(tx, question.project_id)
    if project is None:
        raise missing("project", question.project_id)
    return [project, *projects_store.below(tx, project)] if question.include_subtree else [project]


def _expanded(
    tx: Tx, sources: Sequence[Assignment], question: Question, projects: Sequence[Project] | None
) -> Iterator[Entry]:
    graph = read_graph(tx)
    members = store.members(tx, sorted({one.actor_id for one in sources if one.actor_kind == "group"}), question.at)
    if projects is None and any(one.inherited for one in sources):
        projects = projects_store.reached(tx, sorted({one.target_id for one in sources if one.inherited}))
    for source in sources:
        users = [source.actor_id] if source.actor_kind == "user" else members.get(source.actor_id, [])
        for user_id in users:
            if question.user_id in (None, user_id):
                for target in _targets(source, projects or ()):
                    plain = msgspec.structs.replace(
                        source,
                        actor_kind="user",
                        actor_id=user_id,
                        target_kind=target[0],
                        target_id=target[1],
                        inherited=False,
                    )
                    yield from _implied(graph, plain, source, question.role_id)


def _targets(source: Assignment, projects: Sequence[Project]) -> Iterator[tuple[Any, str]]:
    if not source.inherited:
        yield source.target_kind, source.target_id
        return
    for project in projects:
        if source.target_id in project.ancestors:
            yield "project", project.id


def _implied(graph: Graph, plain: Assignment, source: Assignment, only: str | None) -> Iterator[Entry]:
    for role_id in graph.closure(source.role_id):
        role = graph.roles.get(role_id)
        if role is not None and role.domain_id is None and only in (None, role_id):
            yield Entry(
                assignment=msgspec.structs.replace(plain, role_id=role_id),
                source=source,
                prior_role_id=None if role_id == source.role_id else source.role_id,
            )


# --- rendering ----------------------------------------------------------------------------------------------

Names = Mapping[str, "Thing"]


class Thing(msgspec.Struct, frozen=True, gc=False):
    """What an id in a line stands for, with what it is called if that was asked for."""

    id: str
    name: str | UnsetType = UNSET
    domain: Any = UNSET


class Scope(msgspec.Struct, frozen=True, gc=False):
    """Where a role is held: one of the first three."""

    project: Thing | UnsetType = UNSET
    domain: Thing | UnsetType = UNSET
    system: Any = UNSET
    inherited_to: str | UnsetType = msgspec.field(default=UNSET, name="OS-INHERIT:inherited_to")


class Links(msgspec.Struct, frozen=True, gc=False):
    """Where the assignment is, and what else led to the line."""

    assignment: str
    membership: str | UnsetType = UNSET
    prior_role: str | UnsetType = UNSET


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of the answer as JSON: structs, because lists have many thousands."""

    role: Thing
    scope: Scope
    links: Links
    user: Thing | UnsetType = UNSET
    group: Thing | UnsetType = UNSET


def render(tx: Tx, entries: Sequence[Entry], base: str, include_names: bool) -> list[Line]:
    """The entries as JSON objects. `base`: the service's address."""
    things = _Things(_names(tx, entries) if include_names else {})
    scopes: dict[tuple[str, str, bool], Scope] = {}
    lines = []
    for entry in entries:
        one = entry.assignment
        place = (one.target_kind, one.target_id, one.inherited)
        scope = scopes.get(place)
        if scope is None:
            scope = scopes[place] = _scope(one, things)
        actor = things[one.actor_id]
        on_user = one.actor_kind == "user"
        lines.append(
            Line(
                things[one.role_id],
                scope,
                _links(entry, base),
                actor if on_user else UNSET,
                UNSET if on_user else actor,
            )
        )
    return lines


class _Things(dict[str, Thing]):
    """Things by id: those that have names, and as they are needed all others."""

    def __missing__(self, thing_id: str) -> Thing:
        thing = self[thing_id] = Thing(thing_id)
        return thing


def _scope(one: Assignment, things: _Things) -> Scope:
    inherited: str | UnsetType = "projects" if one.inherited else UNSET
    if one.target_kind == "system":
        return Scope(system={"all": True}, inherited_to=inherited)
    if one.target_kind == "domain":
        return Scope(domain=things[one.target_id], inherited_to=inherited)
    return Scope(project=things[one.target_id], inherited_to=inherited)


def _links(entry: Entry, base: str) -> Links:
    one, source = entry.assignment, entry.source
    if source is one:
        return Links(f"{base}{path_of(source)}")
    membership: str | UnsetType = UNSET
    if source.actor_kind != one.actor_kind:
        membership = f"{base}/groups/{source.actor_id}/users/{one.actor_id}"
    prior: str | UnsetType = UNSET
    if entry.prior_role_id is not None:
        prior = f"{base}/roles/{entry.prior_role_id}/implies/{one.role_id}"
    return Links(f"{base}{path_of(source)}", membership, prior)


def _names(tx: Tx, entries: Sequence[Entry]) -> Names:
    """What each id in the entries is called, as the API shows it."""
    ids: dict[str, set[str]] = {"user": set(), "group": set(), "project": set(), "role": set()}
    for entry in entries:
        ids[entry.assignment.actor_kind].add(entry.assignment.actor_id)
        ids["project"].add(entry.assignment.target_id)
        ids["role"].add(entry.assignment.role_id)
    tables = {"user": models.user, "group": models.group, "project": models.project, "role": models.role}
    found = {kind: store.named(tx, tables[kind], sorted(wanted)) for kind, wanted in ids.items()}
    domains = {domain_id for named in found.values() for _, domain_id in named.values() if domain_id is not None}
    domain_names = store.named(tx, models.project, sorted(domains))
    return {
        thing_id: Thing(thing_id, name)
        if domain_id is None
        else Thing(thing_id, name, {"id": domain_id, "name": domain_names.get(domain_id, ("", None))[0]})
        for named in found.values()
        for thing_id, (name, domain_id) in named.items()
    }


def path_of(assignment: Assignment) -> str:
    """The path under which an assignment is made, checked and removed."""
    where = "system" if assignment.target_kind == "system" else f"{assignment.target_kind}s/{assignment.target_id}"
    path = f"/{where}/{assignment.actor_kind}s/{assignment.actor_id}/roles/{assignment.role_id}"
    return f"/OS-INHERIT{path}/inherited_to_projects" if assignment.inherited else path
