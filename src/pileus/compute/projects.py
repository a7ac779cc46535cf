"""What compute asks of identity: whether a project exists, before something is stored for it."""

from typing import Protocol

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest


class Projects(Protocol):
    """Who knows the projects."""

    def find(self, tx: Tx, project_id: str) -> object | None:
        """The project, or None if there is none."""
        ...


def check_project(tx: Tx, projects: Projects, project_id: str) -> None:
    """BadRequest unless the project exists."""
    if projects.find(tx, project_id) is None:
        raise BadRequest(f"Project ID {project_id} is not a valid project.")
