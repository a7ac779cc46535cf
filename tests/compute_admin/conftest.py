"""The world of these tests."""

import pytest

from pileus.kernel.db import Database
from tests.compute_admin.world import World


@pytest.fixture
def world(sqlite: Database) -> World:
    """The small services of compute on SQLite."""
    return World(sqlite)


@pytest.fixture
def worlds(database: Database) -> World:
    """The small services of compute on each database."""
    return World(database)
