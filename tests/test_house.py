"""The house's rules, enforced: imports run one way, rooms stay small, every setting says what it means."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pileus.kernel.config import entries_of
from pileus.settings import Settings

SOURCE = Path(__file__).parents[1] / "src" / "pileus"
SERVICES = ("identity", "image", "compute", "network", "placement", "hosts", "scheduler")
COMPOSERS = ("wiring", "bootstrap", "settings", "cli", "migrations", "supervisor", "demo", "audit")
"""Who puts services together may import all of them."""

MAX_FILE = 600
MAX_FUNCTION = 60


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name without `pileus.`, and what it imports of Pileus."""

    name: str
    path: Path
    imports: tuple[str, ...]

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str:
        return self.name.rsplit(".", 1)[-1]


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[Module]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        found.append(Module(name, path, tuple(_imports(ast.parse(path.read_text())))))
    return found


MODULES = modules()
REVISIONS = "migrations.versions."
"""Database revisions are lists of statements, as long as they are."""


def _breaks(module: Module, imported: str) -> str | None:
    """Which rule an import breaks, or None."""
    inside = imported.removeprefix("pileus.")
    there = inside.split(".")[0]
    third_party = not imported.startswith("pileus.")
    if third_party:
        if imported.split(".", maxsplit=1)[0] == "sqlalchemy" and module.room in (
            "routes",
            "service",
            "domain",
            "schemas",
        ):
            return "SQL outside store and models"
        if imported.split(".", maxsplit=1)[0] == "falcon" and module.package in SERVICES:
            return "the web framework outside the kernel"
        return None
    if module.package == "kernel" and there != "kernel":
        return "the kernel knows no service"
    if there == "drivers" and module.package not in ("agent", "drivers", *COMPOSERS):
        return "only agents import drivers"
    if module.package in SERVICES and inside.startswith("agent.") and not inside.startswith("agent.api"):
        return "the control plane knows of agents only what crosses the wire"
    if module.package == "agent" and there in SERVICES:
        return "agents know no service"
    foreign = module.package in SERVICES and there in SERVICES and there != module.package
    if foreign and {"store", "models", "sagas", "routes"} & set(inside.split(".")):
        return "services meet through each other's service"
    if (
        module.room in ("routes", "schemas")
        and there == module.package
        and {"store", "models"} & set(inside.split("."))
    ):
        return "routes ask the service, and know no queries or tables"
    return None


def test_imports_run_one_way() -> None:
    broken = [
        f"{module.name} imports {imported}: {rule}"
        for module in MODULES
        for imported in module.imports
        if (rule := _breaks(module, imported)) is not None
    ]
    assert broken == []


def test_the_rule_sees_what_it_should() -> None:
    def module(name: str) -> Module:
        return Module(name, SOURCE, ())

    assert _breaks(module("kernel.app"), "pileus.compute.service")
    assert _breaks(module("compute.servers.service"), "pileus.network.ports.store")
    assert _breaks(module("compute.servers.sagas"), "pileus.drivers.network.linux")
    assert _breaks(module("compute.servers.sagas"), "pileus.agent.disks")
    assert _breaks(module("image.service"), "sqlalchemy")
    assert _breaks(module("compute.flavors.routes"), "pileus.compute.flavors.store")
    assert not _breaks(module("image.routes"), "pileus.image.stores.routes")
    assert _breaks(module("agent.host"), "pileus.image.service")
    assert not _breaks(module("compute.servers.sagas"), "pileus.agent.api")
    assert not _breaks(module("agent.main"), "pileus.drivers.network.fake")


@pytest.mark.parametrize(
    "module", [m for m in MODULES if not m.name.startswith(REVISIONS)], ids=lambda module: module.name or "pileus"
)
def test_rooms_stay_small(module: Module) -> None:
    source = module.path.read_text()
    assert source.count("\n") <= MAX_FILE
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION
    ]
    assert long == []


def test_every_setting_says_what_it_means() -> None:
    entries = list(entries_of(Settings(), {}))
    assert len(entries) > 30
    assert [entry.name for entry in entries if len(entry.meta.meaning) < 10] == []
