"""`docs/first-hour.md`, as a newcomer would type it: every command in its boxes succeeds, one after another."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.cloud import Cloud
from tests.real_things import require

PAGE = Path(__file__).parents[1] / "docs" / "first-hour.md"
BOX = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# The test environment has the client at the version that is locked, and the test stands elsewhere than `openrc`.
INSTALLED_ALREADY = "pip install python-openstackclient"


def commands() -> list[str]:
    return [line for box in BOX.findall(PAGE.read_text()) for line in box.splitlines() if line != INSTALLED_ALREADY]


def test_the_page_shows_all_that_the_first_hour_promises() -> None:
    text = "\n".join(commands())
    for command in (
        "image create", "flavor create", "keypair create", "network create", "subnet create", "router create",
        "security group rule create", "server create", "floating ip create", "server add floating ip",
        "console log show", "server event list", "server stop", "server start", "server reboot", "server delete --wait",
    ):  # fmt: skip
        assert f"openstack {command}" in text


@pytest.mark.real
@pytest.mark.timeout(600)
def test_every_command_works_as_it_is_written(tmp_path: Path) -> None:
    require("qemu-system-x86_64", "ssh", "ssh-keygen", "nft", "dnsmasq")
    with Cloud("qh") as cloud:
        greeting = cloud.pileus("demo", "--directory", str(tmp_path), timeout=300)
        assert "logged in: pileus@first-server" in greeting
        again = cloud.pileus("demo", "--directory", str(tmp_path), timeout=300)
        assert "nothing was changed" in again
        script = ["set -eu -o pipefail", *(f"{_shown(line)}\n{line}" for line in commands())]
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            cwd=tmp_path,
            env={name: value for name, value in cloud.environment().items() if not name.startswith("OS_")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=540,
            check=False,
        )
        print(done.stdout)
        assert done.returncode == 0, done.stdout[-3000:]
        assert "The database and the hosts agree." in done.stdout


def _shown(line: str) -> str:
    quoted = line.replace("'", "'\\''")
    return f"echo '$ {quoted}'"
