"""`docs/images.md`: every command in its boxes succeeds, in order, on a cloud with the settings that the page shows."""

import gzip
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.cloud import Cloud
from tests.real_things import require
from tests.warm_client import warm_client
from tests.web import serving

PAGE = Path(__file__).parents[1] / "docs" / "images.md"
BOX = re.compile(r"^```(sh|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOGIN = "source openrc\n"  # the test is logged in already


def boxes(kind: str) -> str:
    """What all boxes of a kind hold."""
    return "".join(text for found, text in BOX.findall(PAGE.read_text()) if found == kind)


def settings(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    """The settings in a document of TOML, each by its whole name."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from settings(value, f"{above}{name}.")
        else:
            yield above + name, value


def test_the_page_shows_every_command_of_the_client() -> None:
    text = boxes("sh")
    commands = {entry.name.replace("_", " ") for entry in entry_points(group="openstack.image.v2")}
    assert len(commands) > 40
    assert {command for command in commands if f"openstack {command} " not in text.replace("\n", " ")} == set()
    for command in ("aggregate cache image", "limit create", "registered limit create"):
        assert f"openstack {command} " in text
    for command in ("move", "evacuate", "certificate", "metadefs", "cache"):
        assert f"pileus image {command} " in text


@pytest.mark.real
def test_every_command_works_as_it_is_written(tmp_path: Path) -> None:
    require("qemu-img", "openssl")
    script = tmp_path / "page.sh"
    script.write_text(boxes("sh").replace(LOGIN, ""))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk", "16M"], check=True)
    with (
        Cloud("qg", dict(settings(tomllib.loads(boxes("toml"))))) as cloud,
        warm_client(tmp_path) as programs,
        serving() as web,
    ):
        web.files["/disk.qcow2.gz"] = gzip.compress((tmp_path / "disk").read_bytes())
        environment = cloud.environment(MIRROR=web.url)
        code, output = typed(script, environment | {"PATH": f"{programs}:{environment['PATH']}"})
        print(output)
        assert code == 0, output[-3000:]
        assert "The database and the hosts agree." in output


def typed(script: Path, environment: Mapping[str, str], seconds: float = 200) -> tuple[int | None, str]:
    """Run a script in its directory as somebody at a terminal would, for `openstack image create` takes what it reads
    from anything else for the image's data. The exit code, None if it took too long; and its output."""
    keyboard, terminal = os.openpty()
    log = script.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-euv", "-o", "pipefail", script],
            cwd=script.parent,
            env=environment,
            stdin=terminal,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
    os.close(keyboard)
    os.close(terminal)
    return code, log.read_text()
