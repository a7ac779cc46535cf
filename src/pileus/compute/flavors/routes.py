"""URLs of flavors."""

from collections.abc import Sequence
from typing import Any

from pileus.compute.flavors import schemas
from pileus.compute.flavors.domain import SORT_KEYS, Flavor, Selection
from pileus.compute.flavors.policy import ACCESS, EXTRA_SPECS, FLAVORS, MANAGE
from pileus.compute.flavors.schemas import BRIEF, FULL, Shown
from pileus.compute.flavors.service import Flavors
from pileus.compute.query_strings import number, page_size, refuse_unknown
from pileus.kernel.errors import BadRequest
from pileus.kernel.fields import View
from pileus.kernel.http import Call, Route, parse_flag
from pileus.kernel.paging import Page, next_link, parse_sort

_KNOWN = frozenset({"limit", "marker", "sort_key", "sort_dir", "is_public", "minRam", "minDisk"})


def _is_public(call: Call) -> bool | None:
    """Whether a list holds public flavors, private ones, or (None) both. Only administrators may choose."""
    text = call.query.get("is_public")
    if text is None or not call.actor.is_admin:
        return True
    if text.strip().lower() == "none":
        return None
    try:
        return parse_flag("is_public", text)
    except BadRequest as err:
        raise BadRequest(f"Invalid is_public filter [{text}]") from err


def _list(call: Call, svc: Flavors, view: View, path: str) -> dict[str, Any]:
    refuse_unknown(call, _KNOWN)
    query = call.query
    selection = Selection(
        call.actor.project_id,
        _is_public(call),
        number(call, "minRam", f"Invalid min_ram filter [{query.get('minRam')}]"),
        number(call, "minDisk", f"Invalid minDisk filter [{query.get('minDisk')}]"),
    )
    page = Page(
        page_size(call, svc.settings.max_limit),
        query.get("marker") or None,
        parse_sort(query.all("sort_key"), query.all("sort_dir"), SORT_KEYS, (("flavorid", "asc"),), "asc"),
    )
    with call.read() as tx:
        found = svc.page(tx, selection, page)
    flavors = found[: page.limit]
    document: dict[str, Any] = {"flavors": [_rendered(call, flavor, view) for flavor in flavors]}
    if len(found) > page.limit:
        href = next_link(f"{call.base_url}{path}", query.pairs, flavors[-1].flavorid)
        document["flavors_links"] = [{"rel": "next", "href": href}]
    return document


def _rendered(call: Call, flavor: Flavor, view: View = FULL) -> dict[str, Any]:
    return view.render(Shown(flavor, call.base_url), call.version, may=call.may)


def list_flavors(call: Call, svc: Flavors) -> dict[str, Any]:
    return _list(call, svc, BRIEF, "/flavors")


def list_flavors_detailed(call: Call, svc: Flavors) -> dict[str, Any]:
    return _list(call, svc, FULL, "/flavors/detail")


def show_flavor(call: Call, svc: Flavors) -> dict[str, Any]:
    with call.read() as tx:
        flavor = svc.get(tx, call.actor, call.params["flavor_id"])
    return {"flavor": _rendered(call, flavor)}


def create_flavor(call: Call, svc: Flavors) -> dict[str, Any]:
    new = schemas.new_flavor(call.body)
    return {"flavor": _rendered(call, call.transact(lambda tx: svc.create(tx, new)))}


def update_flavor(call: Call, svc: Flavors) -> dict[str, Any]:
    flavor_id = call.params["flavor_id"]
    changed = call.transact(lambda tx: svc.describe(tx, flavor_id, call.body.description))
    return {"flavor": _rendered(call, changed)}


def delete_flavor(call: Call, svc: Flavors) -> None:
    call.transact(lambda tx: svc.delete(tx, call.params["flavor_id"]))


def list_extra_specs(call: Call, svc: Flavors) -> dict[str, Any]:
    with call.read() as tx:
        return {"extra_specs": svc.get(tx, call.actor, call.params["flavor_id"]).extra_specs}


def create_extra_specs(call: Call, svc: Flavors) -> dict[str, Any]:
    specs = call.body.extra_specs
    call.transact(lambda tx: svc.add_extra_specs(tx, call.params["flavor_id"], specs))
    return {"extra_specs": specs}


def show_extra_spec(call: Call, svc: Flavors) -> dict[str, Any]:
    key = call.params["key"]
    with call.read() as tx:
        return {key: svc.extra_spec(tx, call.actor, call.params["flavor_id"], key)}


def update_extra_spec(call: Call, svc: Flavors) -> dict[str, Any]:
    specs: dict[str, str] = call.body
    if call.params["key"] not in specs:
        raise BadRequest("Request body and URI mismatch")
    call.transact(lambda tx: svc.add_extra_specs(tx, call.params["flavor_id"], specs))
    return dict(specs)


def delete_extra_spec(call: Call, svc: Flavors) -> None:
    call.transact(lambda tx: svc.remove_extra_spec(tx, call.params["flavor_id"], call.params["key"]))


def _access(flavor_id: str, projects: Sequence[str]) -> dict[str, Any]:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}


def list_access(call: Call, svc: Flavors) -> dict[str, Any]:
    flavor_id = call.params["flavor_id"]
    with call.read() as tx:
        return _access(flavor_id, svc.access(tx, call.actor, flavor_id))


def add_access(call: Call, svc: Flavors) -> dict[str, Any]:
    flavor_id, project = call.params["flavor_id"], call.body.arguments.tenant
    return _access(flavor_id, call.transact(lambda tx: svc.add_access(tx, flavor_id, project)))


def remove_access(call: Call, svc: Flavors) -> dict[str, Any]:
    flavor_id, project = call.params["flavor_id"], call.body.arguments.tenant
    return _access(flavor_id, call.transact(lambda tx: svc.remove_access(tx, flavor_id, project)))


_ONE = "/flavors/{flavor_id}"
_SPECS = f"{_ONE}/os-extra_specs"

ROUTES: tuple[Route[Flavors], ...] = (
    Route("GET", "/flavors", list_flavors, FLAVORS),
    Route("POST", "/flavors", create_flavor, f"{MANAGE}create", body=schemas.CREATE),
    Route("GET", "/flavors/detail", list_flavors_detailed, FLAVORS),
    Route("GET", _ONE, show_flavor, FLAVORS),
    Route("PUT", _ONE, update_flavor, f"{MANAGE}update", body=schemas.UPDATE, since="2.55"),
    Route("DELETE", _ONE, delete_flavor, f"{MANAGE}delete", status=202),
    Route("GET", _SPECS, list_extra_specs, f"{EXTRA_SPECS}index"),
    Route("POST", _SPECS, create_extra_specs, f"{EXTRA_SPECS}create", body=schemas.ADD_EXTRA_SPECS),
    Route("GET", f"{_SPECS}/{{key}}", show_extra_spec, f"{EXTRA_SPECS}show"),
    Route("PUT", f"{_SPECS}/{{key}}", update_extra_spec, f"{EXTRA_SPECS}update", body=schemas.EXTRA_SPEC),
    Route("DELETE", f"{_SPECS}/{{key}}", delete_extra_spec, f"{EXTRA_SPECS}delete"),
    Route("GET", f"{_ONE}/os-flavor-access", list_access, ACCESS),
    Route(
        "POST",
        f"{_ONE}/action",
        add_access,
        f"{ACCESS}:add_tenant_access",
        body=schemas.access_action("addTenantAccess"),
        action="addTenantAccess",
    ),
    Route(
        "POST",
        f"{_ONE}/action",
        remove_access,
        f"{ACCESS}:remove_tenant_access",
        body=schemas.access_action("removeTenantAccess"),
        action="removeTenantAccess",
    ),
)
