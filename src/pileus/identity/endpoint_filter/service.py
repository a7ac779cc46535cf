"""The rules of endpoint groups and of projects' endpoints."""

from collections.abc import Iterable

from pileus.identity.domain import Endpoint, Project
from pileus.identity.endpoint_filter import store
from pileus.identity.endpoint_filter.domain import FILTERS, EndpointGroup
from pileus.identity.generation import Generation
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.rows import Found, Wanted, page_of
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.ids import new_hex


class EndpointFilters:
    """Endpoint groups, and what projects are associated with. Each change begins a new generation of the catalog."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def group(self, tx: Tx, group_id: str) -> EndpointGroup:
        """An endpoint group, or NotFound."""
        group = store.GROUPS.get(tx, group_id)
        if group is None:
            raise missing("endpoint group", group_id)
        return group

    def groups(self, tx: Tx, wanted: Wanted) -> Found[EndpointGroup]:
        """A page of endpoint groups."""
        return store.GROUPS.page(tx, wanted)

    def create_group(self, tx: Tx, sent: Sent) -> EndpointGroup:
        """Create an endpoint group. BadRequest without filters, or for an unknown one."""
        if not sent.known["filters"]:
            raise BadRequest("filters field is required and cannot be empty.")
        _check_filters(sent.known["filters"])
        group = EndpointGroup(
            id=new_hex(),
            name=sent.known["name"],
            description=sent.get("description"),
            filters=sent.known["filters"],
        )
        store.GROUPS.insert(tx, group)
        return group

    def update_group(self, tx: Tx, group: EndpointGroup, sent: Sent) -> EndpointGroup:
        """Change an endpoint group. New filters take the place of all old ones; none at all is every endpoint.

        A null changes neither name nor filters: the official client sends it for what it was not told.
        """
        _check_filters(sent.get("filters", {}))
        values = changes(
            group, sent, ("name", "description", "filters"), {"name": group.name, "filters": group.filters}
        )
        values.pop("extra", None)
        store.GROUPS.change(tx, group.id, values)
        self._generation.advance(tx)
        return self.group(tx, group.id)

    def delete_group(self, tx: Tx, group: EndpointGroup) -> None:
        """Delete an endpoint group; projects lose the endpoints that they had through it."""
        store.GROUPS.delete(tx, group.id)
        self._generation.advance(tx)

    def endpoints_of_group(self, tx: Tx, group: EndpointGroup, wanted: Wanted) -> Found[Endpoint]:
        """A page of the endpoints that are in a group now."""
        return store.endpoints_of_group(tx, group, wanted)

    def projects_of_group(self, tx: Tx, group: EndpointGroup, wanted: Wanted) -> Found[Project]:
        """A page of the projects that a group is associated with."""
        return store.projects_of_group(tx, group.id, wanted)

    def groups_of_project(self, tx: Tx, project: Project, wanted: Wanted) -> Found[EndpointGroup]:
        """A page of the groups that a project is associated with."""
        return store.groups_of_project(tx, project.id, wanted)

    def add_group(self, tx: Tx, project: Project, group: EndpointGroup) -> None:
        """Associate a project with a group. Conflict if it is already."""
        if not store.add_group(tx, project.id, group.id):
            raise Conflict(f"The endpoint group {group.id} is associated with project {project.id} already.")
        self._generation.advance(tx)

    def check_group(self, tx: Tx, project: Project, group: EndpointGroup) -> None:
        """NotFound unless a project is associated with a group."""
        if not store.has_group(tx, project.id, group.id):
            raise missing("endpoint group in project", f"{group.id} in {project.id}")

    def remove_group(self, tx: Tx, project: Project, group: EndpointGroup) -> None:
        """End an association. NotFound if there is none."""
        if not store.remove_group(tx, project.id, group.id):
            raise missing("endpoint group in project", f"{group.id} in {project.id}")
        self._generation.advance(tx)

    def endpoints_of_project(self, tx: Tx, project: Project, wanted: Wanted) -> Found[Endpoint]:
        """A page of the endpoints that a project is associated with, directly or through groups."""
        return page_of(store.endpoints_of_project(tx, project.id), wanted)

    def projects_of_endpoint(self, tx: Tx, endpoint: Endpoint, wanted: Wanted) -> Found[Project]:
        """A page of the projects that an endpoint is associated with directly."""
        return store.projects_of_endpoint(tx, endpoint.id, wanted)

    def add_endpoint(self, tx: Tx, project: Project, endpoint: Endpoint) -> None:
        """Associate a project with an endpoint. Conflict if it is already."""
        if not store.add_endpoint(tx, project.id, endpoint.id):
            raise Conflict(f"The endpoint {endpoint.id} is associated with project {project.id} already.")
        self._generation.advance(tx)

    def check_endpoint(self, tx: Tx, project: Project, endpoint: Endpoint) -> None:
        """NotFound unless a project is associated with an endpoint directly."""
        if not store.has_endpoint(tx, project.id, endpoint.id):
            raise missing("endpoint in project", f"{endpoint.id} in {project.id}")

    def remove_endpoint(self, tx: Tx, project_id: str, endpoint_id: str) -> None:
        """End an association. NotFound if there is none."""
        if not store.remove_endpoint(tx, project_id, endpoint_id):
            raise missing("endpoint in project", f"{endpoint_id} in {project_id}")
        self._generation.advance(tx)


def _check_filters(names: Iterable[str]) -> None:
    unknown = sorted(set(names) - FILTERS)
    if unknown:
        raise BadRequest(f"'{unknown[0]}' is not a filter of endpoint groups. Filters: {', '.join(sorted(FILTERS))}.")
