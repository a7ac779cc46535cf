"""Every table of Pileus. Importing the packages' models is what fills the metadata."""

import importlib
import pkgutil

import sqlalchemy as sa

import pileus
from pileus.kernel.db import metadata

ROOMS = frozenset({"models", "tables", "quota", "loops"})
"""The names of modules in which tables are declared."""


def all_tables() -> sa.MetaData:
    """The metadata with every table in it."""
    for module in pkgutil.walk_packages(pileus.__path__, "pileus.", onerror=_refuse):
        if module.name.rsplit(".", 1)[-1] in ROOMS and not module.name.startswith("pileus.migrations"):
            importlib.import_module(module.name)
    return metadata


def _refuse(name: str) -> None:
    raise ImportError(f"the package {name} cannot be imported")
