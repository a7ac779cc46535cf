"""Operations on domains and projects."""

from collections.abc import Mapping
from typing import Any

from pileus.identity.domain import Project, TagFilter
from pileus.identity.limits.schemas import LIMIT
from pileus.identity.projects.kin import nested_above, nested_below
from pileus.identity.projects.schemas import (
    DOMAIN,
    DOMAIN_CREATE,
    DOMAIN_UPDATE,
    PROJECT,
    PROJECT_CREATE,
    PROJECT_UPDATE,
    TAGS,
)
from pileus.identity.rest import asked, many, missing, one, permitted, target, wanted, within_own_domain
from pileus.identity.service import Identity
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route


def show(call: Call, project: Project) -> dict[str, Any]:
    """A project or domain in a response of its own kind."""
    if call.path.split("/")[3:4] == ["domains"]:
        return one(call, "domains", DOMAIN, project)
    return one(call, "projects", PROJECT, project)


def target_of(project: Project | None) -> Mapping[str, Any]:
    """What rules may ask about a project."""
    if project is None:
        return {}
    return target(project__id=project.id, project__domain_id=project.domain_id, domain__id=project.home)


def list_domains(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /domains"""
    call.authorize(target(domain__id=call.actor.domain_id))
    want = wanted(call, svc.max_limit, {"name": "name"}, ("enabled",)).but(is_domain=True)
    if call.actor.domain_id is not None:
        want = want.but(id=call.actor.domain_id)
    with call.read() as tx:
        found = svc.projects.page(tx, want, _tag_filter(call))
    return many(call, "domains", found, lambda domain: show(call, domain))


def create_domain(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /domains"""
    domain_id = call.body.get("explicit_domain_id")
    domain = call.transact(lambda tx: svc.projects.create_domain(tx, call.body, domain_id))
    return {"domain": show(call, domain)}


def _domain(call: Call, svc: Identity, tx: Tx) -> Project:
    domain_id = call.params["domain_id"]
    domain = svc.projects.find_domain(tx, domain_id)
    return permitted(call, domain, "domain", domain_id, target_of(domain))


def show_domain(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /domains/{domain_id}"""
    with call.read() as tx:
        return {"domain": show(call, _domain(call, svc, tx))}


def update_domain(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /domains/{domain_id}"""
    domain = call.transact(lambda tx: svc.projects.update(tx, _domain(call, svc, tx), call.body))
    return {"domain": show(call, domain)}


def delete_domain(call: Call, svc: Identity) -> None:
    """DELETE /domains/{domain_id}"""
    call.transact(lambda tx: svc.projects.delete_domain(tx, _domain(call, svc, tx)))


def list_projects(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /projects"""
    call.authorize(target(domain_id=call.actor.domain_id))
    columns = {"name": "name", "domain_id": "domain_id", "parent_id": "parent_id"}
    want = within_own_domain(wanted(call, svc.max_limit, columns, ("enabled", "is_domain")), call.actor)
    if "is_domain" not in want.equal:
        want = want.but(is_domain=False)
    with call.read() as tx:
        found = svc.projects.page(tx, want, _tag_filter(call))
    return many(call, "projects", found, lambda project: show(call, project))


def _tag_filter(call: Call) -> TagFilter:
    def names(key: str) -> tuple[str, ...]:
        return tuple(name for name in (call.query.get(key) or "").split(",") if name)

    return TagFilter(names("tags"), names("tags-any"), names("not-tags"), names("not-tags-any"))


def create_project(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /projects: with `is_domain`, it is a domain"""

    def create(tx: Tx) -> Project:
        if call.body.get("is_domain") and call.body.get("domain_id") is None and call.body.get("parent_id") is None:
            call.authorize({}, "identity:create_domain")
            return svc.projects.create_domain(tx, call.body)
        domain_id = call.body.get("domain_id") or svc.projects.default_domain_of(call.actor)
        if call.body.get("parent_id") is None:
            call.authorize(target(project__domain_id=domain_id))
        parent = svc.projects.place_of(tx, call.actor, call.body)
        call.authorize(target(project__domain_id=parent.home))
        return svc.projects.create_project(tx, parent, call.body)

    return {"project": show(call, call.transact(create))}


def _project(call: Call, svc: Identity, tx: Tx) -> Project:
    project_id = call.params["project_id"]
    project = svc.projects.find(tx, project_id)
    return permitted(call, project, "project", project_id, target_of(project))


def show_project(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /projects/{project_id}"""
    with call.read() as tx:
        project = _project(call, svc, tx)
        return {"project": {**show(call, project), **show_kin(call, svc, tx, project)}}


def show_kin(call: Call, svc: Identity, tx: Tx, project: Project) -> dict[str, Any]:
    """What the query asks for of the projects above and below: as nested ids, or a list of those the caller can use."""
    shown: dict[str, Any] = {}
    for key in ("parents", "subtree"):
        as_list, as_ids = asked(call, f"{key}_as_list"), asked(call, f"{key}_as_ids")
        if as_list and as_ids:
            raise BadRequest(f"Cannot use {key}_as_list and {key}_as_ids query params at the same time.")
        if as_list:
            kin = svc.projects.above(tx, project) if key == "parents" else svc.projects.below(tx, project)
            shown[key] = _listed(call, svc, tx, svc.roles.reaches(tx, call.actor.user_id, kin))
        elif as_ids and key == "parents":
            shown[key] = nested_above(project)
        elif as_ids:
            shown[key] = nested_below(project, svc.projects.below(tx, project))
    return shown


def _listed(call: Call, svc: Identity, tx: Tx, projects: list[Project]) -> list[dict[str, Any]]:
    shown = [show(call, project) for project in projects]
    if asked(call, "include_limits"):
        limits = svc.limits.of_projects(tx, [project.id for project in projects])
        for project in shown:
            project["limits"] = [LIMIT.render(limit) for limit in limits[project["id"]]]
    return [{"project": project} for project in shown]


def update_project(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /projects/{project_id}"""
    project = call.transact(lambda tx: svc.projects.update(tx, _project(call, svc, tx), call.body))
    return {"project": show(call, project)}


def delete_project(call: Call, svc: Identity) -> None:
    """DELETE /projects/{project_id}"""
    call.transact(lambda tx: svc.projects.delete_project(tx, _project(call, svc, tx)))


def list_tags(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /projects/{project_id}/tags"""
    with call.read() as tx:
        project = _project(call, svc, tx)
    return _tags(call, project.id, project.tags)


def _tags(call: Call, project_id: str, tags: tuple[str, ...]) -> dict[str, Any]:
    return {"tags": tags, "links": {"self": f"{call.base_url}/projects/{project_id}/tags"}}


def check_tag(call: Call, svc: Identity) -> None:
    """GET and HEAD /projects/{project_id}/tags/{tag}"""
    with call.read() as tx:
        project = _project(call, svc, tx)
    if call.params["tag"] not in project.tags:
        raise missing("project tag", call.params["tag"])


def set_tags(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /projects/{project_id}/tags"""
    tags = call.transact(lambda tx: svc.projects.set_tags(tx, _project(call, svc, tx), call.body.tags))
    return _tags(call, call.params["project_id"], tags)


def add_tag(call: Call, svc: Identity) -> Reply:
    """PUT /projects/{project_id}/tags/{tag}"""

    def add(tx: Tx) -> None:
        project = _project(call, svc, tx)
        svc.projects.add_tag(tx, project, call.params["tag"])

    call.transact(add)
    return Reply(headers={"Location": f"{call.base_url}{call.path.removeprefix('/identity/v3')}"})


def delete_tag(call: Call, svc: Identity) -> None:
    """DELETE /projects/{project_id}/tags/{tag}"""

    def remove(tx: Tx) -> None:
        project = _project(call, svc, tx)
        if call.params["tag"] not in project.tags:
            raise missing("project tag", call.params["tag"])
        svc.projects.set_tags(tx, project, [tag for tag in project.tags if tag != call.params["tag"]])

    call.transact(remove)


def clear_tags(call: Call, svc: Identity) -> None:
    """DELETE /projects/{project_id}/tags"""
    call.transact(lambda tx: svc.projects.set_tags(tx, _project(call, svc, tx), ()))


_DOMAIN = "/domains/{domain_id}"
_PROJECT = "/projects/{project_id}"
_TAGS = f"{_PROJECT}/tags"
_TAG = f"{_TAGS}/{{tag}}"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", "/domains", list_domains, "identity:list_domains", targeted=True),
    Route("POST", "/domains", create_domain, "identity:create_domain", 201, DOMAIN_CREATE),
    Route("GET", _DOMAIN, show_domain, "identity:get_domain", targeted=True),
    Route("PATCH", _DOMAIN, update_domain, "identity:update_domain", body=DOMAIN_UPDATE, targeted=True),
    Route("DELETE", _DOMAIN, delete_domain, "identity:delete_domain", 204, targeted=True),
    Route("GET", "/projects", list_projects, "identity:list_projects", targeted=True),
    Route("POST", "/projects", create_project, "identity:create_project", 201, PROJECT_CREATE, targeted=True),
    Route("GET", _PROJECT, show_project, "identity:get_project", targeted=True),
    Route("PATCH", _PROJECT, update_project, "identity:update_project", body=PROJECT_UPDATE, targeted=True),
    Route("DELETE", _PROJECT, delete_project, "identity:delete_project", 204, targeted=True),
    Route("GET", _TAGS, list_tags, "identity:list_project_tags", targeted=True),
    Route("PUT", _TAGS, set_tags, "identity:update_project_tags", body=TAGS, targeted=True),
    Route("DELETE", _TAGS, clear_tags, "identity:delete_project_tags", 204, targeted=True),
    Route("GET", _TAG, check_tag, "identity:get_project_tag", 204, targeted=True),
    Route("PUT", _TAG, add_tag, "identity:create_project_tag", 201, targeted=True),
    Route("DELETE", _TAG, delete_tag, "identity:delete_project_tag", 204, targeted=True),
)
