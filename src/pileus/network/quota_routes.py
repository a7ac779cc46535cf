"""Quotas over HTTP."""

from pileus.kernel.fields import Integer, Param
from pileus.kernel.http import Call, Reply, Route
from pileus.network.domain import owned_target
from pileus.network.service import Networks
from pileus.network.settings import NetworkSettings
from pileus.network.wire import AttributesBody

_UPDATE = AttributesBody("quota", *(Param(name, Integer(-1, 2**31 - 1)) for name in NetworkSettings().quota_defaults()))


def list_quotas(call: Call, svc: Networks) -> dict[str, object]:
    """GET /quotas: projects whose limits are not the defaults"""
    with call.read() as tx:
        listed = svc.quotas.customised(tx)
    return {"quotas": [{"project_id": project, "tenant_id": project, **limits} for project, limits in listed]}


def show_quota(call: Call, svc: Networks) -> dict[str, object]:
    """GET /quotas/{project_id}"""
    project_id = _target(call)
    with call.read() as tx:
        return {"quota": {**svc.quotas.show(tx, project_id), "project_id": project_id, "tenant_id": project_id}}


def show_details(call: Call, svc: Networks) -> dict[str, object]:
    """GET /quotas/{project_id}/details"""
    project_id = _target(call)
    with call.read() as tx:
        return {"quota": {**svc.quotas.details(tx, project_id), "project_id": project_id, "tenant_id": project_id}}


def show_default(call: Call, svc: Networks) -> dict[str, object]:
    """GET /quotas/{project_id}/default"""
    project_id = _target(call)
    return {"quota": {**svc.quotas.defaults, "project_id": project_id, "tenant_id": project_id}}


def update_quota(call: Call, svc: Networks) -> dict[str, object]:
    """PUT /quotas/{project_id}"""
    project_id = _target(call)
    return {"quota": call.transact(lambda tx: svc.quotas.update(tx, project_id, call.body))}


def delete_quota(call: Call, svc: Networks) -> Reply:
    """DELETE /quotas/{project_id}: back to the defaults"""
    project_id = _target(call)
    call.transact(lambda tx: svc.quotas.reset(tx, project_id))
    return Reply(status=204)


def show_project(call: Call, _svc: Networks) -> dict[str, object]:
    """GET /quotas/tenant and /quotas/project: whose quota the caller's is"""
    word = call.path.rsplit("/", 1)[-1]
    return {word: {f"{word}_id": call.actor.owner}}


def _target(call: Call) -> str:
    project_id = call.params["project_id"]
    call.authorize(owned_target(project_id))
    return project_id


_QUOTA = "/quotas/{project_id}"

ROUTES: tuple[Route[Networks], ...] = (
    Route("GET", "/quotas", list_quotas, "list_quotas"),
    Route("GET", "/quotas/tenant", show_project, "get_quota"),
    Route("GET", "/quotas/project", show_project, "get_quota"),
    Route("GET", _QUOTA, show_quota, "get_quota"),
    Route("GET", f"{_QUOTA}/default", show_default, "get_quota"),
    Route("GET", f"{_QUOTA}/details", show_details, "get_quota"),
    Route("PUT", _QUOTA, update_quota, "update_quota", 200, _UPDATE),
    Route("DELETE", _QUOTA, delete_quota, "delete_quota", 204),
)
