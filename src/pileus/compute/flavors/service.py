"""Business rules of flavors.

A server keeps a copy of its flavor, so a flavor can be changed or deleted without any server noticing.
"""

from collections.abc import Mapping

import msgspec

from pileus.compute.flavors import store
from pileus.compute.flavors.domain import Flavor, NewFlavor, Selection
from pileus.compute.projects import Projects, check_project
from pileus.compute.settings import ComputeSettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.ids import new_uuid
from pileus.kernel.paging import Page


class Flavors:
    """Flavors as callers see and change them. Methods run in the caller's transaction."""

    def __init__(self, settings: ComputeSettings, projects: Projects, clock: Clock) -> None:
        self.settings = settings
        self._projects = projects
        self._clock = clock

    def get(self, tx: Tx, actor: Actor, flavor_ref: str) -> Flavor:
        """A flavor that the actor may use: a public one, one that its project has access to; for administrators any.
        NotFound else."""
        flavor = store.get(tx, flavor_ref)
        if flavor is None or not (
            flavor.is_public or actor.is_admin or store.has_access(tx, flavor.number, actor.project_id)
        ):
            raise _not_found(flavor_ref)
        return flavor

    def page(self, tx: Tx, selection: Selection, page: Page) -> list[Flavor]:
        """A page of flavors and, where there are more, one further. BadRequest if there is no such marker."""
        if page.limit == 0:
            return []
        found = store.page(tx, selection, page)
        if found is None:
            raise BadRequest(f"marker [{page.marker}] not found")
        return found

    def create(self, tx: Tx, new: NewFlavor) -> Flavor:
        """Make a flavor. Conflict if its name or id is taken."""
        flavorid = new_uuid() if new.flavorid is None else new.flavorid
        taken = store.taken(tx, flavorid, new.name)
        if taken is not None:
            raise _taken(taken, flavorid, new.name)
        values = msgspec.structs.asdict(new) | {
            "flavorid": flavorid,
            "extra_specs": {},
            "created_at": self._clock.now(),
            "updated_at": None,
        }
        if not store.insert(tx, values):
            raise Conflict(f"Flavor with name {new.name} or ID {flavorid} already exists.")
        return self._found(tx, flavorid)

    def describe(self, tx: Tx, flavorid: str, description: str | None) -> Flavor:
        """Change a flavor's description."""
        flavor = self._locked(tx, flavorid)
        self._change(tx, flavor, {"description": description})
        return self._found(tx, flavorid)

    def delete(self, tx: Tx, flavorid: str) -> None:
        """Delete a flavor. Servers that were made with it stay as they are."""
        store.delete(tx, self._locked(tx, flavorid).number)

    # --- extra specs ----------------------------------------------------------------------------------------

    def add_extra_specs(self, tx: Tx, flavorid: str, specs: Mapping[str, str]) -> None:
        """Set some of a flavor's extra specs; the others stay."""
        flavor = self._locked(tx, flavorid)
        self._change(tx, flavor, {"extra_specs": flavor.extra_specs | dict(specs)})

    def extra_spec(self, tx: Tx, actor: Actor, flavorid: str, key: str) -> str:
        """One extra spec. NotFound if the flavor has none of that key."""
        flavor = self.get(tx, actor, flavorid)
        if key not in flavor.extra_specs:
            raise _no_such_spec(flavorid, key)
        return flavor.extra_specs[key]

    def remove_extra_spec(self, tx: Tx, flavorid: str, key: str) -> None:
        """Remove one extra spec. NotFound if the flavor has none of that key."""
        flavor = self._locked(tx, flavorid)
        if key not in flavor.extra_specs:
            raise _no_such_spec(flavorid, key)
        kept = {name: value for name, value in flavor.extra_specs.items() if name != key}
        self._change(tx, flavor, {"extra_specs": kept})

    # --- access ---------------------------------------------------------------------------------------------

    def access(self, tx: Tx, actor: Actor, flavorid: str) -> list[str]:
        """The projects that have access to a private flavor. NotFound for a public one."""
        flavor = self.get(tx, actor, flavorid)
        if flavor.is_public:
            raise NotFound("Access list not available for public flavors.")
        return store.projects_of(tx, flavor.number)

    def add_access(self, tx: Tx, flavorid: str, project_id: str) -> list[str]:
        """Give a project access to a private flavor; who has access afterwards."""
        check_project(tx, self._projects, project_id)
        flavor = self._locked(tx, flavorid)
        if flavor.is_public:
            raise Conflict("Can not add access to a public flavor.")
        if store.has_access(tx, flavor.number, project_id):
            raise Conflict(f"Flavor access already exists for flavor {flavorid} and project {project_id} combination.")
        store.grant(tx, flavor.number, project_id)
        return store.projects_of(tx, flavor.number)

    def remove_access(self, tx: Tx, flavorid: str, project_id: str) -> list[str]:
        """Take a project's access to a flavor; who has access afterwards. A project that is gone may still be named."""
        flavor = self._locked(tx, flavorid)
        if not store.revoke(tx, flavor.number, project_id):
            raise NotFound(f"Flavor access not found for {flavorid} / {project_id} combination.")
        return store.projects_of(tx, flavor.number)

    # --- what administrators' changes share -----------------------------------------------------------------

    def _locked(self, tx: Tx, flavorid: str) -> Flavor:
        flavor = store.get(tx, flavorid, lock=True)
        if flavor is None:
            raise _not_found(flavorid)
        return flavor

    @staticmethod
    def _found(tx: Tx, flavorid: str) -> Flavor:
        flavor = store.get(tx, flavorid)
        if flavor is None:
            raise _not_found(flavorid)
        return flavor

    def _change(self, tx: Tx, flavor: Flavor, values: Mapping[str, object]) -> None:
        store.change(tx, flavor.number, {**values, "updated_at": self._clock.now()})


def _not_found(flavorid: str) -> NotFound:
    return NotFound(f"Flavor {flavorid} could not be found.")


def _no_such_spec(flavorid: str, key: str) -> NotFound:
    return NotFound(f"Flavor {flavorid} has no extra specs with key {key}.")


def _taken(what: str, flavorid: str, name: str) -> Conflict:
    if what == "name":
        return Conflict(f"Flavor with name {name} already exists.")
    return Conflict(f"Flavor with ID {flavorid} already exists.")
