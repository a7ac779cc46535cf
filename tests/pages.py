"""Pages of documentation that are tests: what is in their boxes is typed as it stands there."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
BOX = re.compile(r"^```(sh|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOGIN = "source openrc\n"  # the test is logged in already


def boxes(page: str, kind: str) -> str:
    """What all boxes of a kind on a page hold."""
    return "".join(text for found, text in BOX.findall((DOCS / page).read_text()) if found == kind)


def settings(page: str) -> dict[str, object]:
    """The settings that a page shows, each by its whole name."""
    return dict(_settings(tomllib.loads(boxes(page, "toml"))))


def _settings(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{above}{name}.")
        else:
            yield above + name, value


def not_shown(page: str, group: str) -> set[str]:
    """The commands of the official client that are of a group of entry points, and not on a page."""
    text = boxes(page, "sh").replace("\n", " ")
    commands = {entry.name.replace("_", " ") for entry in entry_points(group=group)}
    assert len(commands) > 40
    return {command for command in commands if not re.search(rf"(openstack|as_\w+) {command} ", text)}


def typed(page: str, directory: Path, environment: Mapping[str, str], seconds: float = 200) -> tuple[int | None, str]:
    """Type a page in a directory as somebody at a terminal would, for `openstack image create` takes what it reads from
    anything else for the image's data. The exit code, None if it took too long; and the output."""
    script, log = directory / "page.sh", directory / "page.log"
    script.write_text(boxes(page, "sh").replace(LOGIN, ""))
    keyboard, terminal = os.openpty()
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-euv", "-o", "pipefail", script],
            cwd=directory,
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
