"""Bodies and views of quotas."""

from operator import itemgetter
from typing import Any

from pileus.compute.quotas.service import NETWORK
from pileus.kernel.fields import UNSET, Body, Field, Integer, Param, View

_COMPUTE = ("instances", "cores", "ram", "metadata_items", "key_pairs")
_GROUPS = ("server_groups", "server_group_members")
_INJECTED = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_ALL = (*_COMPUTE, *_GROUPS, *_INJECTED, *NETWORK)
_VALUE = Integer(-1, (1 << 31) - 1)


def _view(network_until: str, groups_since: str | None) -> View:
    return View(
        *(Field(name, itemgetter(name)) for name in _COMPUTE),
        *(Field(name, itemgetter(name), since=groups_since) for name in _GROUPS),
        *(Field(name, itemgetter(name), until="2.56") for name in _INJECTED),
        *(Field(name, itemgetter(name), until=network_until) for name in NETWORK),
    )


def _body(wrapper: str, network_until: str, groups_since: str | None, *more: Param) -> Body:
    return Body(
        wrapper,
        *(Param(name, _VALUE) for name in _COMPUTE),
        *(Param(name, _VALUE, since=groups_since) for name in _GROUPS),
        *(Param(name, _VALUE, until="2.56") for name in _INJECTED),
        *(Param(name, _VALUE, until=network_until) for name in (*NETWORK, "networks")),
        *more,
    )


SET = _view("2.35", None)
"""The limits of a project; with each limit's use, if that is what is rendered."""
CLASS = _view("2.49", "2.50")
"""The limits of a quota class."""

UPDATE = _body("quota_set", "2.35", None, Param("force", bool, default=False))
UPDATE_CLASS = _body("quota_class_set", "2.49", "2.50")


def changes(body: Any) -> dict[str, int]:
    """The limits that an update sets. `networks` was never one of anything."""
    values = {name: getattr(body, name, UNSET) for name in _ALL}
    return {name: value for name, value in values.items() if value is not UNSET}
