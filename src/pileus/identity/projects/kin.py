"""The projects above and below one as nested objects of ids."""

from collections.abc import Sequence
from typing import Any

from pileus.identity.domain import Project

Nested = dict[str, Any] | None
"""Id -> what is further up (or down) from there; None where nothing is."""


def nested_above(project: Project) -> Nested:
    """The ids above a project: the parent holds its own parent, up to the domain."""
    nested: Nested = None
    for project_id in project.ancestors:
        nested = {project_id: nested}
    return nested


def nested_below(project: Project, below: Sequence[Project]) -> Nested:
    """The ids below a project: each holds its children. `below`: parents before their children."""
    trees: dict[str, dict[str, Any]] = {}
    for one in reversed(below):
        trees.setdefault(one.parent_id or "", {})[one.id] = trees.get(one.id)
    return trees.get(project.id)
