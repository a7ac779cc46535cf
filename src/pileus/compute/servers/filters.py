"""From the query of a list of servers to a selection: which filters there are, for whom, and what they mean."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pileus.compute.servers.domain import POWER_NUMBERS, VmState, states_of
from pileus.compute.servers.store import SORT_KEYS, Selection
from pileus.kernel.clock import parse_iso
from pileus.kernel.errors import BadRequest, Forbidden
from pileus.kernel.http import Query, parse_flag
from pileus.kernel.paging import Page, parse_limit, parse_sort
from pileus.kernel.versions import Version
from pileus.network.domain import PortInfo

_V2_5, _V2_26, _V2_38, _V2_66, _V2_73, _V2_75, _V2_83 = (Version(2, minor) for minor in (5, 26, 38, 66, 73, 75, 83))

_TEXT_COLUMNS: Mapping[str, str] = {
    "reservation_id": "reservation_id",
    "image": "image_id",
    "flavor": "flavorid",
    "uuid": "id",
    "user_id": "user_id",
    "host": "host",
    "node": "host",
    "hostname": "hostname",
    "key_name": "key_name",
    "task_state": "task_state",
    "vm_state": "vm_state",
    "availability_zone": "availability_zone",
    "access_ip_v4": "access_ip_v4",
    "access_ip_v6": "access_ip_v6",
    "locked_by": "locked_by",
}
_INSTANT_COLUMNS = frozenset({"created_at", "launched_at", "terminated_at"})
_FLAG_COLUMNS = frozenset({"config_drive", "auto_disk_config"})
_PATTERN_COLUMNS: Mapping[str, str] = {"name": "name", "display_name": "name", "description": "description"}
_CONSTANTS: Mapping[str, str] = {"root_device_name": "/dev/vda", "progress": "0"}

_FOR_ALL = frozenset({"reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"})
_FOR_ALL_SINCE: Sequence[tuple[Version, frozenset[str]]] = (
    (_V2_5, frozenset({"ip6"})),
    (_V2_26, frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})),
    (_V2_66, frozenset({"changes-before"})),
    (_V2_73, frozenset({"locked"})),
    (
        _V2_83,
        frozenset(
            {
                "availability_zone",
                "config_drive",
                "key_name",
                "created_at",
                "launched_at",
                "terminated_at",
                "power_state",
                "task_state",
                "vm_state",
                "progress",
                "user_id",
            }
        ),
    ),
)
_PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})
_ADMIN_ONLY = frozenset(
    {"deleted", "soft_deleted", "project_id", "tenant_id", "power_state", "launch_index", "kernel_id"}
)
_ADMIN_SORT_KEYS = frozenset({"host", "node"})
_SINCE = {name: version for version, names in _FOR_ALL_SINCE for name in names if version < _V2_83}
KNOWN = (
    _FOR_ALL
    | frozenset().union(*(names for _, names in _FOR_ALL_SINCE))
    | frozenset(_TEXT_COLUMNS)
    | frozenset(_PATTERN_COLUMNS)
    | frozenset(_CONSTANTS)
    | _FLAG_COLUMNS
    | _ADMIN_ONLY
    | _PAGING
    | frozenset({"ramdisk_id"})
)


class ListRequest:
    """A list's query, read for a caller: `selection`, `page` and `addresses` (IP version -> pattern)."""

    def __init__(
        self,
        query: Query,
        version: Version,
        *,
        project_id: str,
        is_admin: bool,
        max_limit: int,
        may_all: Callable[[], bool],
    ) -> None:
        self._version = version
        self._is_admin = is_admin
        self._refuse_unknown(query)
        given = self._allowed(query)
        self.page = Page(
            parse_limit(query.get("limit"), max_limit),
            query.get("marker") or None,
            self._sort(query),
        )
        self.addresses = {
            4 if name == "ip" else 6: _pattern(name, given[name][0]) for name in ("ip", "ip6") if name in given
        }
        self.empty = any(given[name][0] != value for name, value in _CONSTANTS.items() if name in given)
        self.selection = self._selection(given, self._project(given, project_id, may_all))

    def _refuse_unknown(self, query: Query) -> None:
        if self._version < _V2_75:
            return
        for name in query.keys():  # noqa: SIM118 - not a dict
            if name not in KNOWN or self._version < _SINCE.get(name, self._version):
                raise BadRequest(f"Additional properties are not allowed ('{name}' was unexpected)")

    def _allowed(self, query: Query) -> dict[str, list[str]]:
        """The filters that count for this caller: others are ignored, as Nova does."""
        names: Iterable[str] = KNOWN - _PAGING
        if not self._is_admin:
            names = set(_FOR_ALL)
            for since, more in _FOR_ALL_SINCE:
                if self._version >= since:
                    names |= more
        given: dict[str, list[str]] = {}
        for name, value in query.pairs:
            if name in names and self._version >= _SINCE.get(name, self._version):
                given.setdefault(name, []).append(value)
        return given

    def _sort(self, query: Query) -> tuple[tuple[str, str], ...]:
        keys = query.all("sort_key")
        if not self._is_admin and _ADMIN_SORT_KEYS.intersection(keys):
            raise Forbidden("Only administrators can sort servers by host or node.")
        return parse_sort(keys, query.all("sort_dir"), SORT_KEYS, (("created_at", "desc"), ("id", "desc")))

    @staticmethod
    def _project(given: Mapping[str, list[str]], own: str, may_all: Callable[[], bool]) -> str | None:
        """The project whose servers are listed; None for all."""
        text = given.get("all_tenants", ["false"])[0]
        everywhere = text == "" or parse_flag("all_tenants", text)
        if not everywhere:
            return own
        if not may_all():
            raise Forbidden("Policy doesn't allow listing the servers of all projects.")
        wanted = given.get("tenant_id") or given.get("project_id")
        return wanted[0] if wanted else None

    def _selection(self, given: Mapping[str, list[str]], project: str | None) -> Selection:
        equal: dict[str, Any] = {
            column: given[name] for name, column in _TEXT_COLUMNS.items() if name in given and given[name] != [""]
        }
        equal |= {name: [_instant(name, given[name][0])] for name in _INSTANT_COLUMNS if name in given}
        equal |= {name: [parse_flag(name, given[name][0])] for name in _FLAG_COLUMNS if name in given}
        if "launch_index" in given:
            equal["launch_index"] = [_integer("launch_index", given["launch_index"][0])]
        if "power_state" in given:
            number = _integer("power_state", given["power_state"][0])
            equal["power_state"] = [state for state, known in POWER_NUMBERS.items() if known == number] or [""]
        since = _instant("changes-since", given["changes-since"][0]) if "changes-since" in given else None
        before = _instant("changes-before", given["changes-before"][0]) if "changes-before" in given else None
        if since is not None and before is not None and since > before:
            raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
        states, deleted = self._states(given, since is not None or before is not None)
        return Selection(
            project_id=project,
            deleted=deleted,
            equal={name: values for name, values in equal.items() if values != [""] or name == "power_state"},
            matching={
                column: _pattern(name, given[name][0]) for name, column in _PATTERN_COLUMNS.items() if name in given
            },
            states=states,
            task_null=given.get("task_state") == [""],
            changed_since=since,
            changed_before=before,
            locked=parse_flag("locked", given["locked"][0]) if "locked" in given else None,
            tags_all=_tags(given, "tags"),
            tags_any=_tags(given, "tags-any"),
            tags_not_all=_tags(given, "not-tags"),
            tags_not_any=_tags(given, "not-tags-any"),
        )

    def _states(self, given: Mapping[str, list[str]], changes: bool) -> tuple[Any, bool | None]:
        """The states that `status` and `deleted` ask for, and whether deleted servers are among them."""
        deleted: bool | None = None if changes else False
        if "deleted" in given:
            text = given["deleted"][0]
            deleted = text == "" or parse_flag("deleted", text)
        statuses = [one for one in given.get("status", []) if one]
        if not statuses:
            return None, deleted
        states = [pair for status in statuses for pair in states_of(status)]
        if not states and self._version >= _V2_38:
            raise BadRequest("Invalid status value")
        if any(vm_state == VmState.DELETED for vm_state, _ in states):
            if not self._is_admin:
                raise Forbidden("Only administrators may list deleted instances")
            deleted = None if any(vm_state != VmState.DELETED for vm_state, _ in states) else True
        return states, deleted


def restrict_to_addresses(
    selection: Selection,
    patterns: Mapping[int, str],
    candidates: Sequence[Any],
    ports_of: Callable[[Sequence[str]], Mapping[str, Sequence[PortInfo]]],
) -> Selection:
    """`selection` with the ids of those candidates that have a fixed address matching every pattern."""
    compiled = {version: re.compile(pattern) for version, pattern in patterns.items()}
    ports = ports_of([server.id for server in candidates])

    def matches(server_id: str) -> bool:
        addresses = [address for port in ports.get(server_id, ()) for address in port.addresses]
        return all(
            any(address.version == version and pattern.search(address.ip) for address in addresses)
            for version, pattern in compiled.items()
        )

    return replace(selection, ids=[server.id for server in candidates if matches(server.id)])


def _pattern(name: str, text: str) -> str:
    try:
        re.compile(text)
    except re.error as err:
        raise BadRequest(f"{name} is not a regular expression: {err}") from err
    return text


def _instant(name: str, text: str) -> int:
    try:
        return parse_iso(text)
    except ValueError as err:
        raise BadRequest(f"Invalid {name} value: {text} is not an ISO 8601 time.") from err


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as err:
        raise BadRequest(f"{name} must be an integer, not '{text}'.") from err


def _tags(given: Mapping[str, list[str]], name: str) -> list[str]:
    return [tag for text in given.get(name, []) for tag in text.split(",") if tag]
