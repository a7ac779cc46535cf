"""URLs of quotas."""

from typing import Any

from pileus.compute.query_strings import refuse_unknown
from pileus.compute.quotas.policy import CLASSES, SETS
from pileus.compute.quotas.schemas import CLASS, SET, UPDATE, UPDATE_CLASS, changes
from pileus.compute.quotas.service import DEFAULT_CLASS, Quotas
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route


def _subject(call: Call) -> tuple[str, str | None]:
    """The project, and the user in it, whose quotas are meant. Forbidden for the project of others."""
    refuse_unknown(call, {"user_id"})
    project_id = call.params["project_id"]
    call.authorize({"project_id": project_id})
    return project_id, call.query.get("user_id") or None


def show_quotas(call: Call, svc: Quotas) -> dict[str, Any]:
    project_id, user_id = _subject(call)
    with call.read() as tx:
        svc.check(tx, project_id)
        limits = svc.limits(tx, project_id, user_id)
    return {"quota_set": {"id": project_id, **SET.render(limits, call.version)}}


def show_quotas_detailed(call: Call, svc: Quotas) -> dict[str, Any]:
    project_id, user_id = _subject(call)
    with call.read() as tx:
        svc.check(tx, project_id)
        limits = svc.limits(tx, project_id, user_id)
        used = svc.used(tx, project_id, user_id)
    detail = {name: {"limit": limit, "in_use": used[name], "reserved": 0} for name, limit in limits.items()}
    return {"quota_set": {"id": project_id, **SET.render(detail, call.version)}}


def show_defaults(call: Call, svc: Quotas) -> dict[str, Any]:
    with call.read() as tx:
        svc.check(tx, call.params["project_id"])
        defaults = svc.defaults(tx)
    return {"quota_set": {"id": call.params["project_id"], **SET.render(defaults, call.version)}}


def update_quotas(call: Call, svc: Quotas) -> dict[str, Any]:
    project_id, user_id = _subject(call)
    wanted = changes(call.body)
    limits = call.transact(lambda tx: svc.update(tx, project_id, wanted, user_id=user_id, force=call.body.force))
    return {"quota_set": SET.render(limits, call.version)}


def delete_quotas(call: Call, svc: Quotas) -> None:
    project_id, user_id = _subject(call)
    call.transact(lambda tx: svc.reset(tx, project_id, user_id))


def _check_class(call: Call) -> None:
    if call.params["quota_class"] != DEFAULT_CLASS:
        raise NotFound(f"Quota class {call.params['quota_class']} could not be found: all projects are in 'default'.")


def show_class(call: Call, svc: Quotas) -> dict[str, Any]:
    _check_class(call)
    with call.read() as tx:
        limits = svc.defaults(tx)
    return {"quota_class_set": {"id": DEFAULT_CLASS, **CLASS.render(limits, call.version)}}


def update_class(call: Call, svc: Quotas) -> dict[str, Any]:
    _check_class(call)
    limits = call.transact(lambda tx: svc.set_defaults(tx, changes(call.body)))
    return {"quota_class_set": CLASS.render(limits, call.version)}


_ONE = "/os-quota-sets/{project_id}"
_CLASS = "/os-quota-class-sets/{quota_class}"

ROUTES: tuple[Route[Quotas], ...] = (
    Route("GET", _ONE, show_quotas, f"{SETS}show", targeted=True),
    Route("GET", f"{_ONE}/detail", show_quotas_detailed, f"{SETS}detail", targeted=True),
    Route("GET", f"{_ONE}/defaults", show_defaults, f"{SETS}defaults"),
    Route("PUT", _ONE, update_quotas, f"{SETS}update", targeted=True, body=UPDATE),
    Route("DELETE", _ONE, delete_quotas, f"{SETS}delete", targeted=True, status=202),
    Route("GET", _CLASS, show_class, f"{CLASSES}show"),
    Route("PUT", _CLASS, update_class, f"{CLASSES}update", body=UPDATE_CLASS),
)
