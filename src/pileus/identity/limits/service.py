"""The rules of unified limits, and what they come to for one project."""

from collections.abc import Sequence
from typing import Any

from pileus.identity.catalog.service import Catalog
from pileus.identity.limits import store
from pileus.identity.limits.domain import (
    MODELS,
    STRICT_TWO_LEVEL,
    UNLIMITED,
    Bound,
    Limit,
    Model,
    RegisteredLimit,
    lower,
)
from pileus.identity.projects.service import Projects
from pileus.identity.rest import missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, NotFound
from pileus.kernel.fields import UNSET, given
from pileus.kernel.ids import new_hex


class Limits:
    """Registered limits and limits. `region`: where this cloud is, for the services that ask for their limits."""

    def __init__(self, settings: IdentitySettings, catalog: Catalog, projects: Projects, region: str) -> None:
        self.model: Model = MODELS[settings.enforcement_model]
        self._catalog = catalog
        self._projects = projects
        self._region = region

    # --- registered limits -----------------------------------------------------------------------------------

    def registered(self, tx: Tx, registered_id: str) -> RegisteredLimit:
        """A registered limit, or NotFound."""
        found = store.REGISTERED.get(tx, registered_id)
        if found is None:
            raise missing("registered limit", registered_id)
        return found

    def registered_page(self, tx: Tx, wanted: Wanted) -> Found[RegisteredLimit]:
        """A page of registered limits."""
        return store.REGISTERED.page(tx, wanted)

    def register(self, tx: Tx, bodies: Sequence[Any]) -> list[RegisteredLimit]:
        """Register several limits, all or none. Conflict if one of them is there already."""
        return [self._register(tx, body) for body in bodies]

    def _register(self, tx: Tx, body: Any) -> RegisteredLimit:
        region_id = given(body.region_id)
        self._check_place(tx, body.service_id, region_id)
        registered = RegisteredLimit(
            id=new_hex(),
            service_id=body.service_id,
            region_id=region_id,
            resource_name=body.resource_name,
            default_limit=body.default_limit,
            description=given(body.description),
        )
        store.insert_registered(tx, registered)
        return registered

    def update_registered(self, tx: Tx, registered_id: str, body: Any) -> RegisteredLimit:
        """Change a registered limit that no limit refers to."""
        registered = self._unreferred(tx, registered_id)
        self._check_place(tx, given(body.service_id, registered.service_id), given(body.region_id))
        names = ("service_id", "region_id", "resource_name", "default_limit", "description")
        store.change_registered(tx, registered.id, _sent(body, names))
        return self.registered(tx, registered.id)

    def unregister(self, tx: Tx, registered_id: str) -> None:
        """Delete a registered limit that no limit refers to."""
        store.REGISTERED.delete(tx, self._unreferred(tx, registered_id).id)

    def _unreferred(self, tx: Tx, registered_id: str) -> RegisteredLimit:
        registered = self._held(tx, registered_id)
        if store.is_referred_to(tx, registered.id):
            raise Forbidden(
                f"Unable to update or delete registered limit {registered.id} because there are project limits"
                " associated with it."
            )
        return registered

    @staticmethod
    def _held(tx: Tx, registered_id: str) -> RegisteredLimit:
        registered = store.hold_registered(tx, registered_id)
        if registered is None:
            raise missing("registered limit", registered_id)
        return registered

    def _check_place(self, tx: Tx, service_id: str, region_id: str | None) -> None:
        try:
            self._catalog.service(tx, service_id)
            if region_id is not None:
                self._catalog.region(tx, region_id)
        except NotFound as err:
            raise BadRequest(err.message) from err

    # --- limits ----------------------------------------------------------------------------------------------

    def find(self, tx: Tx, limit_id: str) -> Limit | None:
        """A limit."""
        return store.get(tx, limit_id)

    def page(
        self, tx: Tx, wanted: Wanted, *, project_id: str | None = None, domain_id: str | None = None
    ) -> Found[Limit]:
        """A page of limits: all, or those of a project, or those of a domain and its projects."""
        return store.page(tx, wanted, project_id=project_id, domain_id=domain_id)

    def of_projects(self, tx: Tx, project_ids: Sequence[str]) -> dict[str, list[Limit]]:
        """The limits of these projects' own, by project."""
        found: dict[str, list[Limit]] = {project_id: [] for project_id in project_ids}
        for limit in store.of_projects(tx, project_ids) if project_ids else ():
            found[limit.project_id or ""].append(limit)
        return found

    def domain_of(self, tx: Tx, limit: Limit) -> str | None:
        """The domain that the limit's project is in; None for a limit of a domain."""
        project = None if limit.project_id is None else self._projects.find(tx, limit.project_id)
        return None if project is None else project.home

    def create(self, tx: Tx, bodies: Sequence[Any]) -> list[Limit]:
        """Create several limits, all or none.

        BadRequest for a project, domain, service or region that does not exist; Forbidden where nothing is registered,
        or where the model does not allow it; Conflict where there is a limit already.
        """
        limits = [self._create(tx, body) for body in bodies]
        for limit in limits:  # when all are there: a domain's may come behind its projects'
            self._check_hierarchy(tx, limit)
        return limits

    def _create(self, tx: Tx, body: Any) -> Limit:
        project_id, domain_id, region_id = given(body.project_id), given(body.domain_id), given(body.region_id)
        if (project_id is None) == (domain_id is None):
            raise BadRequest("A limit is for a project or for a domain: give one of project_id and domain_id.")
        self._check_place(tx, body.service_id, region_id)
        if project_id is not None and self._projects.find(tx, project_id) is None:
            raise BadRequest(f"Could not find project: {project_id}.")
        if domain_id is not None and self._projects.find_domain(tx, domain_id) is None:
            raise BadRequest(f"Could not find domain: {domain_id}.")
        registered_id = store.find_registered(tx, body.service_id, region_id, body.resource_name)
        if registered_id is None or store.hold_registered(tx, registered_id) is None:
            raise Forbidden("Unable to create a limit that has no corresponding registered limit.")
        limit = Limit(
            id=new_hex(),
            registered_limit_id=registered_id,
            project_id=project_id,
            domain_id=domain_id,
            service_id=body.service_id,
            region_id=region_id,
            resource_name=body.resource_name,
            resource_limit=body.resource_limit,
            description=given(body.description),
        )
        store.insert(tx, limit)
        return limit

    def update(self, tx: Tx, limit: Limit, body: Any) -> Limit:
        """Change a limit. Forbidden where the model does not allow it."""
        self._held(tx, limit.registered_limit_id)
        store.change(tx, limit.id, _sent(body, ("resource_limit", "description")))
        changed = store.get(tx, limit.id)
        if changed is None:
            raise missing("limit", limit.id)
        self._check_hierarchy(tx, changed)
        return changed

    def delete(self, tx: Tx, limit: Limit) -> None:
        """Delete a limit: what is registered holds again. Forbidden where the model does not allow it."""
        self._held(tx, limit.registered_limit_id)
        store.delete(tx, limit.id)
        if limit.domain_id is not None:
            self._check_hierarchy(tx, limit)

    def _check_hierarchy(self, tx: Tx, limit: Limit) -> None:
        """Forbidden if now, in the strict model, a project's limit is above its domain's.

        A domain without a limit of its own has the registered one. To be called with the registered limit held, so
        that no other request raises a project's limit while this one lowers the domain's.
        """
        if self.model is not STRICT_TWO_LEVEL:
            return
        domain_id = limit.domain_id
        if limit.project_id is not None:
            project = self._projects.find(tx, limit.project_id)
            domain_id = None if project is None else project.domain_id
            if project is None or domain_id is None or project.parent_id != domain_id:
                raise Forbidden(
                    f"Invalid resource limit: project {limit.project_id} is not directly below a domain, as the model"
                    f" {self.model.name} wants it."
                )
        domains = store.of_domain(tx, limit.registered_limit_id, domain_id or "")
        ceiling = self.registered(tx, limit.registered_limit_id).default_limit if domains is None else domains
        above = (
            None
            if ceiling == UNLIMITED
            else store.project_above(tx, limit.registered_limit_id, domain_id or "", ceiling)
        )
        if above is not None:
            raise Forbidden(
                f"Invalid resource limit: the limit of project {above} for {limit.resource_name} would be above"
                f" {ceiling}, the limit of its domain {domain_id}."
            )

    # --- for the other services ------------------------------------------------------------------------------

    def effective(self, tx: Tx, project_id: str, service_type: str, names: Sequence[str]) -> dict[str, int]:
        """The limits in force for a project, by resource name (-1: unlimited). What is not registered is absent.

        What is registered for this cloud's region goes before what is registered for no region.
        """
        return dict(self.bounds(tx, project_id, service_type, names)[0].limits)

    def bounds(self, tx: Tx, project_id: str, service_type: str, names: Sequence[str]) -> list[Bound]:
        """The project's limits as `effective`, and what else binds it: in the strict model, the limits of its domain,
        which all projects of the domain keep together."""
        own: dict[str, int] = {}
        domains: dict[str, int] = {}
        domain_id: str | None = None
        strict = self.model is STRICT_TWO_LEVEL
        for row in store.in_force(tx, project_id, service_type, self._region, names):
            domain_id = row.domain_id
            limit = row.default_limit if row.own is None else row.own
            ceiling = row.default_limit if row.domains is None else row.domains
            own[row.resource_name] = lower(limit, ceiling) if strict else limit
            domains[row.resource_name] = ceiling
        bounds = [Bound(project_id, (project_id,), own)]
        if strict and domain_id is not None and any(limit != UNLIMITED for limit in domains.values()):
            bounds.append(Bound(domain_id, store.projects_of(tx, domain_id), domains))
        return bounds


def _sent(body: Any, names: Sequence[str]) -> dict[str, Any]:
    """The columns that a body sets."""
    values = {name: getattr(body, name) for name in names}
    return {name: value for name, value in values.items() if value is not UNSET}
