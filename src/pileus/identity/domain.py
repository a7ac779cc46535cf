"""What identity is about, as frozen structs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

DEFAULT_DOMAIN = "default"
SYSTEM = "system"
"""The target id of assignments on the system."""

Comparator = Literal["lt", "lte", "eq", "neq", "gte", "gt"]
COMPARATORS: Mapping[str, Comparator] = {"lt": "lt", "lte": "lte", "eq": "eq", "neq": "neq", "gte": "gte", "gt": "gt"}
"""How filters compare instants."""
ActorKind = Literal["user", "group"]
TargetKind = Literal["project", "domain", "system"]
INTERFACES = ("public", "internal", "admin")
IMMUTABLE = "immutable"
"""The option that protects a project, domain or role from changes and deletion."""
RESOURCE_OPTIONS = frozenset({IMMUTABLE})
USER_OPTIONS = frozenset(
    {
        "ignore_change_password_upon_first_use",
        "ignore_password_expiry",
        "ignore_user_inactivity",
        "ignore_lockout_failure_attempts",
        "lock_password",
        "multi_factor_auth_enabled",
        "multi_factor_auth_rules",
    }
)


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """What all resources have. `extra`: attributes that the API doesn't know and stores for the caller."""

    id: str
    extra: Mapping[str, Any] = {}


class Project(Thing, frozen=True, kw_only=True):
    """A project, or a domain (`is_domain`, `domain_id` is None)."""

    name: str
    domain_id: str | None
    parent_id: str | None
    lineage: str
    is_domain: bool
    enabled: bool = True
    description: str = ""
    options: Mapping[str, Any] = {}
    epoch: int = 0
    tags: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """The domain that it belongs to: itself, if it is one."""
        return self.domain_id or self.id

    @property
    def ancestors(self) -> tuple[str, ...]:
        """The ids above it, the domain first."""
        return tuple(part for part in self.lineage.split("/") if part)


class User(Thing, frozen=True, kw_only=True):
    """A person or a program that can log in."""

    name: str
    domain_id: str
    enabled: bool = True
    default_project_id: str | None = None
    options: Mapping[str, Any] = {}
    epoch: int = 0
    password_expires_at: int | None = None
    last_active_at: int | None = None


class Group(Thing, frozen=True, kw_only=True):
    """Users who hold roles together."""

    name: str
    domain_id: str
    description: str = ""


class Role(Thing, frozen=True, kw_only=True):
    """A role. One with a domain never appears in a token: it only implies others."""

    name: str
    domain_id: str | None = None
    description: str | None = None
    options: Mapping[str, Any] = {}


class Assignment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A role that a user or group holds on a project, a domain or the system."""

    actor_kind: ActorKind
    actor_id: str
    target_kind: TargetKind
    target_id: str
    role_id: str
    inherited: bool = False


class Region(Thing, frozen=True, kw_only=True):
    """A part of the cloud in the catalog."""

    description: str = ""
    parent_region_id: str | None = None


class CatalogService(Thing, frozen=True, kw_only=True):
    """A service in the catalog."""

    type: str
    name: str | None = None
    description: str | None = None
    enabled: bool = True


class Endpoint(Thing, frozen=True, kw_only=True):
    """Where a service answers. `url` may hold `%(project_id)s` and its like."""

    service_id: str
    interface: str
    url: str
    region_id: str | None = None
    enabled: bool = True


class Credential(Thing, frozen=True, kw_only=True):
    """A secret of a user's that identity keeps, encrypted at rest (`blob` is in the clear here)."""

    user_id: str
    type: str
    blob: str
    project_id: str | None = None


class PolicyDocument(Thing, frozen=True, kw_only=True):
    """A policy that identity stores for others; it means nothing to identity itself."""

    type: str
    blob: Any


class RoleRef(msgspec.Struct, frozen=True):
    """A role as tokens and lists name it."""

    id: str
    name: str


class TagFilter(msgspec.Struct, frozen=True):
    """Keystone's four filters by tags."""

    all_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    not_all_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()


class AssignmentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which assignments: all that are given must hold.

    `groups_at`: of a user's, also those of the groups that the user is in at this moment. `projects`: on these
    projects, or inherited by them.
    `in_domain`: on the domain, or on a project in it.
    """

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    projects: Sequence[Project] | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool | None = None
    groups_at: int | None = None
    with_inherited: bool = False
    in_domain: str | None = None
