"""Operations of OS-EP-FILTER."""

from typing import Any

from pileus.identity.catalog.routes import show_an_endpoint
from pileus.identity.domain import Project
from pileus.identity.endpoint_filter.domain import EndpointGroup
from pileus.identity.endpoint_filter.schemas import GROUP, GROUP_CREATE, GROUP_UPDATE
from pileus.identity.projects.routes import show as show_a_project
from pileus.identity.rest import many, missing, one, wanted
from pileus.identity.rows import Wanted
from pileus.identity.service import Identity
from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route

_EXTENSION = "/OS-EP-FILTER"


def show(call: Call, group: EndpointGroup) -> dict[str, Any]:
    """An endpoint group in a response."""
    return one(call, f"{_EXTENSION[1:]}/endpoint_groups", GROUP, group)


def _page(call: Call, svc: Identity) -> Wanted:
    return wanted(call, svc.max_limit, {}, alike=())


def _group(call: Call, svc: Identity, tx: Tx) -> EndpointGroup:
    return svc.endpoint_filters.group(tx, call.params["endpoint_group_id"])


def _project(call: Call, svc: Identity, tx: Tx) -> Project:
    project = svc.projects.find(tx, call.params["project_id"])
    if project is None:
        raise missing("project", call.params["project_id"])
    return project


def list_groups(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoint_groups"""
    with call.read() as tx:
        found = svc.endpoint_filters.groups(tx, wanted(call, svc.max_limit, {"name": "name"}))
    return many(call, "endpoint_groups", found, lambda group: show(call, group))


def create_group(call: Call, svc: Identity) -> dict[str, Any]:
    """POST /OS-EP-FILTER/endpoint_groups"""
    group = call.transact(lambda tx: svc.endpoint_filters.create_group(tx, call.body))
    return {"endpoint_group": show(call, group)}


def show_group(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"""
    with call.read() as tx:
        return {"endpoint_group": show(call, _group(call, svc, tx))}


def update_group(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"""
    group = call.transact(lambda tx: svc.endpoint_filters.update_group(tx, _group(call, svc, tx), call.body))
    return {"endpoint_group": show(call, group)}


def delete_group(call: Call, svc: Identity) -> None:
    """DELETE /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}"""
    call.transact(lambda tx: svc.endpoint_filters.delete_group(tx, _group(call, svc, tx)))


def list_group_endpoints(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/endpoints"""
    with call.read() as tx:
        found = svc.endpoint_filters.endpoints_of_group(tx, _group(call, svc, tx), _page(call, svc))
    return many(call, "endpoints", found, lambda endpoint: show_an_endpoint(call, endpoint))


def list_group_projects(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects"""
    with call.read() as tx:
        found = svc.endpoint_filters.projects_of_group(tx, _group(call, svc, tx), _page(call, svc))
    return many(call, "projects", found, lambda project: show_a_project(call, project))


def list_project_groups(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/projects/{project_id}/endpoint_groups"""
    with call.read() as tx:
        found = svc.endpoint_filters.groups_of_project(tx, _project(call, svc, tx), _page(call, svc))
    return many(call, "endpoint_groups", found, lambda group: show(call, group))


def add_group(call: Call, svc: Identity) -> None:
    """PUT /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}"""
    call.transact(lambda tx: svc.endpoint_filters.add_group(tx, _project(call, svc, tx), _group(call, svc, tx)))


def show_association(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}"""
    with call.read() as tx:
        project, group = _project(call, svc, tx), _group(call, svc, tx)
        svc.endpoint_filters.check_group(tx, project, group)
    own = f"{call.base_url}{_EXTENSION}/endpoint_groups/{group.id}/projects/{project.id}"
    pair = {"endpoint_group_id": group.id, "project_id": project.id, "links": {"self": own}}
    return {"project_endpoint_group": pair}


def remove_group(call: Call, svc: Identity) -> None:
    """DELETE /OS-EP-FILTER/endpoint_groups/{endpoint_group_id}/projects/{project_id}"""
    call.transact(lambda tx: svc.endpoint_filters.remove_group(tx, _project(call, svc, tx), _group(call, svc, tx)))


def list_project_endpoints(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/projects/{project_id}/endpoints"""
    with call.read() as tx:
        found = svc.endpoint_filters.endpoints_of_project(tx, _project(call, svc, tx), _page(call, svc))
    return many(call, "endpoints", found, lambda endpoint: show_an_endpoint(call, endpoint))


def list_endpoint_projects(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-EP-FILTER/endpoints/{endpoint_id}/projects"""
    with call.read() as tx:
        endpoint = svc.catalog.endpoint(tx, call.params["endpoint_id"])
        found = svc.endpoint_filters.projects_of_endpoint(tx, endpoint, _page(call, svc))
    return many(call, "projects", found, lambda project: show_a_project(call, project))


def add_endpoint(call: Call, svc: Identity) -> None:
    """PUT /OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}"""

    def work(tx: Tx) -> None:
        endpoint = svc.catalog.endpoint(tx, call.params["endpoint_id"])
        svc.endpoint_filters.add_endpoint(tx, _project(call, svc, tx), endpoint)

    call.transact(work)


def check_endpoint(call: Call, svc: Identity) -> None:
    """HEAD and GET /OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}"""
    with call.read() as tx:
        endpoint = svc.catalog.endpoint(tx, call.params["endpoint_id"])
        svc.endpoint_filters.check_endpoint(tx, _project(call, svc, tx), endpoint)


def remove_endpoint(call: Call, svc: Identity) -> None:
    """DELETE /OS-EP-FILTER/projects/{project_id}/endpoints/{endpoint_id}"""
    pair = (call.params["project_id"], call.params["endpoint_id"])
    call.transact(lambda tx: svc.endpoint_filters.remove_endpoint(tx, *pair))


_GROUPS = f"{_EXTENSION}/endpoint_groups"
_GROUP = f"{_GROUPS}/{{endpoint_group_id}}"
_ASSOCIATION = f"{_GROUP}/projects/{{project_id}}"
_PROJECT = f"{_EXTENSION}/projects/{{project_id}}"
_ENDPOINT = f"{_PROJECT}/endpoints/{{endpoint_id}}"
_RULE = "identity:"
ROUTES: tuple[Route[Identity], ...] = (
    Route("GET", _GROUPS, list_groups, f"{_RULE}list_endpoint_groups"),
    Route("POST", _GROUPS, create_group, f"{_RULE}create_endpoint_group", 201, GROUP_CREATE),
    Route("GET", _GROUP, show_group, f"{_RULE}get_endpoint_group"),
    Route("PATCH", _GROUP, update_group, f"{_RULE}update_endpoint_group", body=GROUP_UPDATE),
    Route("DELETE", _GROUP, delete_group, f"{_RULE}delete_endpoint_group", 204),
    Route("GET", f"{_GROUP}/endpoints", list_group_endpoints, f"{_RULE}list_endpoints_associated_with_endpoint_group"),
    Route("GET", f"{_GROUP}/projects", list_group_projects, f"{_RULE}list_projects_associated_with_endpoint_group"),
    Route("GET", _ASSOCIATION, show_association, f"{_RULE}get_endpoint_group_in_project"),
    Route("PUT", _ASSOCIATION, add_group, f"{_RULE}add_endpoint_group_to_project", 204),
    Route("DELETE", _ASSOCIATION, remove_group, f"{_RULE}remove_endpoint_group_from_project", 204),
    Route("GET", f"{_PROJECT}/endpoint_groups", list_project_groups, f"{_RULE}list_endpoint_groups_for_project"),
    Route("GET", f"{_PROJECT}/endpoints", list_project_endpoints, f"{_RULE}list_endpoints_for_project"),
    Route("GET", _ENDPOINT, check_endpoint, f"{_RULE}check_endpoint_in_project", 204),
    Route("PUT", _ENDPOINT, add_endpoint, f"{_RULE}add_endpoint_to_project", 204),
    Route("DELETE", _ENDPOINT, remove_endpoint, f"{_RULE}remove_endpoint_from_project", 204),
    Route(
        "GET",
        f"{_EXTENSION}/endpoints/{{endpoint_id}}/projects",
        list_endpoint_projects,
        f"{_RULE}list_projects_for_endpoint",
    ),
)
