"""The rules of domains and projects."""

from collections.abc import Sequence

from pileus.identity.domain import DEFAULT_DOMAIN, RESOURCE_OPTIONS, Project, TagFilter
from pileus.identity.generation import Generation
from pileus.identity.limits.domain import MODELS
from pileus.identity.projects import store
from pileus.identity.projects.schemas import MAX_TAG_LENGTH, MAX_TAGS
from pileus.identity.rest import Sent, changes, merge_options, missing, refuse_immutable
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.ids import new_hex


class Projects:
    """Domains and projects."""

    def __init__(self, settings: IdentitySettings, generation: Generation) -> None:
        levels = MODELS[settings.enforcement_model].max_depth
        self._max_depth = settings.max_project_depth if levels is None else min(levels, settings.max_project_depth)
        self._generation = generation

    def find(self, tx: Tx, project_id: str) -> Project | None:
        """A project or domain."""
        return store.get(tx, project_id)

    def find_domain(self, tx: Tx, domain_id: str) -> Project | None:
        """A domain."""
        project = store.get(tx, domain_id)
        return project if project is not None and project.is_domain else None

    def domain(self, tx: Tx, domain_id: str) -> Project:
        """A domain. NotFound if there is none with this id."""
        domain = self.find_domain(tx, domain_id)
        if domain is None:
            raise missing("domain", domain_id)
        return domain

    def page(self, tx: Tx, wanted: Wanted, tags: TagFilter) -> Found[Project]:
        """A page of projects and domains."""
        return store.page(tx, wanted, tags)

    def above(self, tx: Tx, project: Project) -> list[Project]:
        """The projects that one is below, the nearest first; the last is the domain."""
        found = {one.id: one for one in store.of_ids(tx, project.ancestors)}
        return [found[project_id] for project_id in reversed(project.ancestors) if project_id in found]

    def below(self, tx: Tx, project: Project) -> list[Project]:
        """All projects below one, parents before their children."""
        return store.subtree(tx, project)

    def default_domain_of(self, actor: Actor) -> str:
        """The domain of what the caller creates without naming one."""
        return actor.domain_id or actor.project_domain_id or DEFAULT_DOMAIN

    def create_domain(self, tx: Tx, sent: Sent, domain_id: str | None = None) -> Project:
        """Create a domain. Conflict if the name is taken."""
        domain = Project(
            id=domain_id or new_hex(),
            name=sent.known["name"],
            domain_id=None,
            parent_id=None,
            lineage="",
            is_domain=True,
            enabled=sent.get("enabled", True),
            description=sent.get("description", ""),
            options=merge_options({}, sent.get("options"), RESOURCE_OPTIONS),
            tags=_tags(sent.get("tags", ())),
            extra=sent.extra,
        )
        store.insert(tx, domain)
        return domain

    def place_of(self, tx: Tx, actor: Actor, sent: Sent) -> Project:
        """The parent of a project to be created: as the body says, or the caller's domain.

        BadRequest if parent and domain do not fit together or don't exist.
        """
        domain_id, parent_id = sent.get("domain_id"), sent.get("parent_id")
        parent = store.get(tx, parent_id or domain_id or self.default_domain_of(actor))
        if parent is None:
            raise missing("project" if parent_id else "domain", parent_id or domain_id or "")
        if domain_id is not None and parent.home != domain_id:
            raise BadRequest("The parent project is not in the domain that domain_id names.")
        if parent_id is None and not parent.is_domain:
            raise missing("domain", parent.id)
        return parent

    def create_project(self, tx: Tx, parent: Project, sent: Sent) -> Project:
        """Create a project below `parent`. Conflict if its domain has one of that name."""
        depth = len(parent.ancestors) + 2
        if depth > self._max_depth:
            raise Forbidden(f"Max hierarchy depth reached for {parent.id} branch.")
        enabled = sent.get("enabled", True)
        line = store.of_ids(tx, parent.ancestors) if parent.ancestors else []
        if not parent.is_domain and not all(above.enabled for above in (*line, parent)):
            raise Forbidden(f"Cannot create a project in a branch containing a disabled project: {parent.id}.")
        project = Project(
            id=new_hex(),
            name=sent.known["name"],
            domain_id=parent.home,
            parent_id=parent.id,
            lineage=f"{parent.lineage}{parent.id}/",
            is_domain=False,
            enabled=enabled,
            description=sent.get("description", ""),
            options=merge_options({}, sent.get("options"), RESOURCE_OPTIONS),
            tags=_tags(sent.get("tags", ())),
            extra=sent.extra,
        )
        store.insert(tx, project)
        return project

    def update(self, tx: Tx, project: Project, sent: Sent) -> Project:
        """Change a project or domain. The tree's shape cannot be changed."""
        self._check_fixed(project, sent)
        options = merge_options(project.options, sent.get("options"), RESOURCE_OPTIONS)
        refuse_immutable(project.options, "project", project.id, options)
        enabled = sent.get("enabled", project.enabled)
        if enabled != project.enabled and not project.is_domain:
            self._check_enabling(tx, project, enabled)
        values = changes(project, sent, ("name", "description", "enabled"), {"description": ""})
        if values.get("name", "") is None or values.get("enabled", True) is None:
            raise BadRequest("name and enabled must not be null.")
        if options != project.options:
            values["options"] = options
        if "tags" in sent.known:
            store.set_tags(tx, project.id, _tags(sent.known["tags"]))
        store.change(tx, project.id, values, revoke=project.enabled and not enabled)
        self._generation.advance(tx)
        found = store.get(tx, project.id)
        if found is None:
            raise missing("project", project.id)
        return found

    def delete_project(self, tx: Tx, project: Project) -> None:
        """Delete a project that has none below it; a project that acts as a domain must be disabled."""
        refuse_immutable(project.options, "project", project.id)
        if project.is_domain:
            if project.enabled:
                raise BadRequest("Cannot delete an enabled project acting as a domain. Disable the project first.")
            self._delete_domain(tx, project)
            return
        if store.children(tx, project.id):
            raise Forbidden(f"Cannot delete the project {project.id} since it is not a leaf in the hierarchy.")
        store.delete(tx, project.id)
        self._generation.advance(tx)

    def delete_domain(self, tx: Tx, domain: Project) -> None:
        """Delete a disabled domain and everything in it."""
        refuse_immutable(domain.options, "domain", domain.id)
        if domain.enabled:
            raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
        self._delete_domain(tx, domain)

    def set_tags(self, tx: Tx, project: Project, tags: Sequence[str]) -> tuple[str, ...]:
        """Replace a project's tags."""
        refuse_immutable(project.options, "project", project.id)
        unique = _tags(tags)
        store.set_tags(tx, project.id, unique)
        return unique

    def add_tag(self, tx: Tx, project: Project, tag: str) -> None:
        """Add one tag; adding it again changes nothing."""
        if "," in tag or len(tag) > MAX_TAG_LENGTH:
            raise BadRequest(f"A tag has at most {MAX_TAG_LENGTH} characters, and none of them is ',' or '/'.")
        if tag not in project.tags:
            self.set_tags(tx, project, (*project.tags, tag))

    def _delete_domain(self, tx: Tx, domain: Project) -> None:
        if domain.id == DEFAULT_DOMAIN:
            raise Forbidden("The default domain cannot be deleted.")
        store.delete_domain(tx, domain.id)
        self._generation.advance(tx)

    @staticmethod
    def _check_fixed(project: Project, sent: Sent) -> None:
        if sent.known.get("parent_id", project.parent_id) != project.parent_id:
            raise Forbidden("Update of `parent_id` is not allowed.")
        if sent.known.get("domain_id", project.domain_id) != project.domain_id:
            raise BadRequest("Update of `domain_id` is not allowed.")
        if sent.known.get("is_domain", project.is_domain) != project.is_domain:
            raise BadRequest("Update of `is_domain` is not allowed.")

    @staticmethod
    def _check_enabling(tx: Tx, project: Project, enabled: bool) -> None:
        if enabled:
            line = store.of_ids(tx, project.ancestors)
            if any(not above.enabled for above in line if not above.is_domain):
                raise Forbidden(f"Cannot enable project {project.id} since it has disabled parents.")
        elif any(child.enabled for child in store.below(tx, project)):
            raise Forbidden(
                f"Cannot disable project {project.id} since its subtree contains enabled projects. Disable them first."
            )


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS:
        raise BadRequest(f"A project can have at most {MAX_TAGS} tags.")
    if len(set(tags)) < len(tags):
        raise BadRequest("Tags must be unique.")
    return tuple(sorted(tags))
