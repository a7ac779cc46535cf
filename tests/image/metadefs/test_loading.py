"""Files of definitions: loading them, loading them again, and what is said of wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from pileus.image.metadefs import loading
from pileus.image.metadefs.domain import Loading
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest
from tests.cli.test_cli import Command
from tests.image.metadefs.conftest import ANN, FILES, Metadefs

BOOT = "Pileus::Guest::Boot"


def load(metadefs: Metadefs, path: Path, how: Loading = Loading.KEEP) -> list[str]:
    service = metadefs.api.images.metadefs
    done = []
    for _, wanted in loading.read_all([path]):
        with metadefs.api.db.write() as tx:
            done.append(service.load(tx, wanted, how))
    metadefs.api.clock.advance(1)
    return done


def changed(tmp_path: Path, **fields: Any) -> Path:
    """The file with other fields."""
    path = tmp_path / "boot.json"
    path.write_text(json.dumps(json.loads((FILES / "boot.json").read_bytes()) | fields))
    return path


def test_a_file_is_loaded_once(metadefs_everywhere: Metadefs) -> None:
    metadefs = metadefs_everywhere
    assert load(metadefs, FILES) == ["loaded"]
    first = metadefs.get(BOOT, token=ANN)
    assert (first["owner"], first["protected"], first["visibility"]) == ("admin", True, "public")
    assert first["properties"]["menu_seconds"] == {"title": "Menu", "type": "integer", "minimum": 0, "maximum": 60}
    assert first["objects"][0]["properties"] == {"speed": {"title": "Speed", "type": "integer", "default": 115200}}
    assert first["tags"] == [{"name": "headless"}]
    assert [one["name"] for one in first["resource_type_associations"]] == ["OS::Glance::Image", "Pileus::Rack"]
    assert load(metadefs, FILES / "boot.json") == ["kept"]
    assert metadefs.get(BOOT) == first


def test_a_changed_file_is_merged_preferred_or_put_instead(metadefs_everywhere: Metadefs, tmp_path: Path) -> None:
    metadefs = metadefs_everywhere
    load(metadefs, FILES)
    metadefs.make(BOOT, "tags", "ours")
    new = {"title": "New", "type": "string"}
    path = changed(
        tmp_path,
        description="Changed",
        properties={"firmware": new, "order": new},
        objects=[{"name": "Watchdog"}],
        resource_type_associations=[{"name": "Pileus::Rack", "prefix": "r:"}, {"name": "Pileus::Row"}],
    )

    def state() -> tuple[Any, ...]:
        shown = metadefs.get(BOOT)
        return (
            shown["description"],
            {name: one["title"] for name, one in shown["properties"].items()},
            sorted(one["name"] for one in shown["objects"]),
            {one["name"]: one.get("prefix") for one in shown["resource_type_associations"]},
            sorted(one["name"] for one in shown["tags"]),
        )

    old = state()
    assert load(metadefs, path) == ["kept"]
    assert state() == old
    assert load(metadefs, path, Loading.MERGE) == ["merged"]
    assert state() == (
        old[0],
        {"firmware": "Firmware", "menu_seconds": "Menu", "order": "New"},
        ["Serial console", "Watchdog"],
        {"OS::Glance::Image": "boot_", "Pileus::Rack": None, "Pileus::Row": None},
        ["headless", "ours"],
    )
    assert load(metadefs, path, Loading.PREFER_NEW) == ["merged"]
    assert state() == (
        "Changed",
        {"firmware": "New", "menu_seconds": "Menu", "order": "New"},
        ["Serial console", "Watchdog"],
        {"OS::Glance::Image": "boot_", "Pileus::Rack": "r:", "Pileus::Row": None},
        ["headless", "ours"],
    )
    assert load(metadefs, path, Loading.OVERWRITE) == ["overwritten"]  # protected or not: it is the operator's
    assert state() == (
        "Changed",
        {"firmware": "New", "order": "New"},
        ["Watchdog"],
        {"Pileus::Rack": "r:", "Pileus::Row": None},
        ["headless"],
    )


def test_files_say_more_than_the_api_takes(metadefs: Metadefs, tmp_path: Path) -> None:
    path = changed(tmp_path, description="d" * 2000, comment="not ours", created_at="2020-01-01T00:00:00Z")
    assert load(metadefs, path) == ["loaded"]
    assert len(metadefs.get(BOOT)["description"]) == 2000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"namespace": None}, "namespace"),
        ({"namespace": "n" * 81}, "namespace"),
        ({"visibility": "shared"}, "visibility"),
        ({"properties": {"p": {"type": "string"}}}, "Property p: 'title' is a required property."),
        ({"properties": {"p": {"title": "P", "type": "text"}}}, "Property p: Invalid input for field/attribute type."),
        ({"objects": [{"name": "o", "properties": {"p": {}}}]}, "Object o, property p: 'title' is a required"),
        ({"tags": ["t"]}, "tags"),
        ({"resource_type_associations": [{}]}, "'name' is a required property"),
        ({"description": "a\0b"}, "U+0000"),
    ],
)
def test_a_wrong_file_is_named_with_the_field(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    path = changed(tmp_path, **fields)
    with pytest.raises(BadRequest) as refused:
        loading.read(path)
    assert refused.value.message.startswith(f"{path}: ")
    assert said in refused.value.message


def test_the_command_loads_and_lists(sqlite: Database, tmp_path: Path) -> None:
    pileus = Command(tmp_path)
    url = {"PILEUS_DATABASE_URL": sqlite.engine.url.render_as_string()}
    assert pileus("image", "metadefs", "list", **url).stdout == "There are no metadata definitions.\n"
    boot = FILES / "boot.json"
    first, second = (pileus("image", "metadefs", "load", str(FILES), **url) for _ in range(2))
    assert (first.returncode, first.stdout) == (0, f"loaded      {BOOT} ({boot})\n")
    assert (second.returncode, second.stdout) == (0, f"kept        {BOOT} ({boot})\n")
    again = pileus("image", "metadefs", "load", "--overwrite", str(boot), **url)
    assert again.stdout.startswith("overwritten ")
    listed = pileus("image", "metadefs", "list", **url).stdout.splitlines()
    assert listed[1].split() == [BOOT, "public", "yes", "admin", "OS::Glance::Image,", "Pileus::Rack"]
    both = pileus("image", "metadefs", "load", "--overwrite", "--prefer-new", str(boot), **url)
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)


def test_the_command_tells_every_wrong_file_and_loads_none(tmp_path: Path) -> None:
    directory = tmp_path / "definitions"
    directory.mkdir()
    pileus = Command(tmp_path)
    empty = pileus("image", "metadefs", "load", str(directory))
    assert (empty.returncode, empty.stderr) == (1, f"pileus: {directory}: there is no file here that ends in .json.\n")
    (directory / "a.json").write_text("{")
    changed(directory)
    (directory / "c.json").write_text("{}")
    done = pileus("image", "metadefs", "load", str(directory), str(tmp_path / "none.json"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"pileus: {directory}/a.json: is not JSON: Input data was truncated.",
        f"pileus: {directory}/c.json: 'namespace' is a required property.",
        f"pileus: {tmp_path}/none.json: cannot be read: No such file or directory.",
    ]
