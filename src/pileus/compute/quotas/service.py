"""Quotas of compute: what a project may have, what one of its users may have of that, and the defaults of both.

Usage is counted from the rows themselves. What takes from a quota calls `reserve` in the transaction that takes.
"""

from collections.abc import Callable, Mapping

from pileus.compute.projects import Projects, check_project
from pileus.compute.quotas import store
from pileus.compute.settings import ComputeSettings
from pileus.kernel import quota
from pileus.kernel.auth import Actor
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, OverLimit
from pileus.kernel.quota import UNLIMITED

SERVICE = "compute"
DEFAULT_CLASS = "default"
"""The quota class that all projects are in. Its limits are kept as those of a project of this name."""

COUNTED = ("instances", "cores", "ram")
"""What is counted over a project's servers. All others limit one request, one server or one user."""

NETWORK = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
"""What the network service limits by quotas of its own. Old versions of this API show and set these too: they are
kept, and mean nothing."""

MAX_USER_ID = 64


class Quotas:
    """Limits and usage of projects and their users. UNLIMITED is -1."""

    def __init__(self, settings: ComputeSettings, projects: Projects) -> None:
        self._projects = projects
        self._settings = {
            "instances": settings.quota_instances,
            "cores": settings.quota_cores,
            "ram": settings.quota_ram,
            "metadata_items": settings.quota_metadata_items,
            "injected_files": settings.quota_injected_files,
            "injected_file_content_bytes": settings.quota_injected_file_content_bytes,
            "injected_file_path_bytes": settings.quota_injected_file_path_length,
            "key_pairs": settings.quota_key_pairs,
            "server_groups": settings.quota_server_groups,
            "server_group_members": settings.quota_server_group_members,
            **dict.fromkeys(NETWORK, UNLIMITED),
        }

    def check(self, tx: Tx, project_id: str) -> None:
        """BadRequest unless the project exists."""
        check_project(tx, self._projects, project_id)

    # --- limits ---------------------------------------------------------------------------------------------

    def defaults(self, tx: Tx) -> dict[str, int]:
        """The limits of a project for which none were set."""
        return quota.limits(tx, DEFAULT_CLASS, SERVICE, self._settings)

    def limits(self, tx: Tx, project_id: str, user_id: str | None = None) -> dict[str, int]:
        """The limits of a project, or of one of its users."""
        limits = quota.limits(tx, project_id, SERVICE, self.defaults(tx))
        if user_id is not None:
            limits |= store.user_limits(tx, project_id, user_id)
        return limits

    def set_defaults(self, tx: Tx, changes: Mapping[str, int]) -> dict[str, int]:
        """Change the defaults of all projects; what they are afterwards."""
        quota.lock(tx, DEFAULT_CLASS, SERVICE)
        for resource, value in changes.items():
            quota.set_limit(tx, DEFAULT_CLASS, SERVICE, resource, value)
        return self.defaults(tx)

    def update(
        self, tx: Tx, project_id: str, changes: Mapping[str, int], *, user_id: str | None = None, force: bool = False
    ) -> dict[str, int]:
        """Set limits of a project, or of one of its users; the limits afterwards.

        BadRequest if the project does not exist, if a user would get more than its project or, unless `force`, if more
        than a new limit is in use.
        """
        self.check(tx, project_id)
        quota.lock(tx, project_id, SERVICE)
        if user_id is not None:
            if len(user_id) > MAX_USER_ID:
                raise BadRequest(f"User ID {user_id} is not a valid user.")
            self._check_within_project(tx, project_id, changes)
        if not force:
            _check_not_below(changes, store.used(tx, project_id, user_id))
        if user_id is not None:
            if changes:
                store.set_user_limits(tx, project_id, user_id, changes)
        else:
            for resource, value in changes.items():
                quota.set_limit(tx, project_id, SERVICE, resource, value)
        return self.limits(tx, project_id, user_id)

    def reset(self, tx: Tx, project_id: str, user_id: str | None = None) -> None:
        """Return a project with all its users, or one of its users, to the defaults."""
        if user_id is None:
            quota.clear_limits(tx, project_id, SERVICE)
        store.clear_user_limits(tx, project_id, user_id)

    def _check_within_project(self, tx: Tx, project_id: str, changes: Mapping[str, int]) -> None:
        limits = self.limits(tx, project_id)
        for resource, value in changes.items():
            most = limits[resource]
            if most != UNLIMITED and (value == UNLIMITED or value > most):
                raise BadRequest(f"Quota limit {value} for {resource} must be less than or equal to {most}.")

    # --- usage ----------------------------------------------------------------------------------------------

    def used(self, tx: Tx, project_id: str, user_id: str | None = None) -> dict[str, int]:
        """What is used of each limit; 0 for what is not counted over a project."""
        return dict.fromkeys(self._settings, 0) | store.used(tx, project_id, user_id)

    def reserve(self, tx: Tx, actor: Actor, wanted: Mapping[str, int]) -> None:
        """OverLimit unless that many more of COUNTED fit the limits of the actor's project, and its own there. Other
        requests of the project wait until this transaction ends."""
        project_id = actor.owner
        quota.reserve(
            tx,
            project_id,
            SERVICE,
            dict(wanted),
            self.defaults(tx),
            lambda: store.used(tx, project_id),
            _over_limit,
        )
        own = store.user_limits(tx, project_id, actor.user_id)
        if not own.keys() & wanted.keys():
            return
        used = store.used(tx, project_id, actor.user_id)
        for resource, more in wanted.items():
            limit = own.get(resource, UNLIMITED)
            if limit != UNLIMITED and used[resource] + more > limit:
                raise _over_limit(resource, more, used[resource], limit)

    def reserve_key_pair(self, tx: Tx, actor: Actor, user_id: str, used: Callable[[], int]) -> None:
        """OverLimit unless a user may have one more key pair. They are counted by user, across projects."""
        quota.lock(tx, user_id[:32], SERVICE)
        limit = self.limits(tx, actor.owner, user_id)["key_pairs"]
        if limit != UNLIMITED and used() >= limit:
            raise OverLimit("Quota exceeded, too many key pairs.")


def _check_not_below(changes: Mapping[str, int], used: Mapping[str, int]) -> None:
    for resource, value in changes.items():
        least = used.get(resource, 0)
        if value != UNLIMITED and value < least:
            raise BadRequest(
                f"Quota limit {value} for {resource} must be greater than or equal to already used and reserved "
                f"{least}."
            )


def _over_limit(resource: str, wanted: int, used: int, limit: int) -> OverLimit:
    return OverLimit(
        f"Quota exceeded for {resource}: Requested {wanted}, but already used {used} of {limit} {resource}"
    )
