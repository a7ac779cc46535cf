"""Two real clouds side by side: `docs/replicate.md` as it is written, and the result as the official clients see it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import glanceclient
import openstack
import pytest
import yaml

from tests.cloud import Cloud
from tests.real_things import require
from tests.replicator.conftest import md5

PAGE = Path(__file__).parents[2] / "docs" / "replicate.md"
BOX = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
NO_GUESTS = {"agent.hypervisor": "fake", "agent.network": "fake"}


@dataclass
class Pair:
    """Two clouds, and the clouds.yaml that names them."""

    clouds: dict[str, Cloud]
    config: Path

    def run(self, *words: str, directory: Path) -> subprocess.CompletedProcess[str]:
        """Run a program that finds the clouds by their names."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PILEUS_"))}
        environ |= {
            "OS_CLIENT_CONFIG_FILE": str(self.config),
            "PATH": f"{Path(sys.executable).parent}:{environ['PATH']}",
        }
        return subprocess.run(
            words, cwd=directory, env=environ, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def glance(self, name: str) -> Any:
        """python-glanceclient, logged in at one of them."""
        return glanceclient.Client("2", session=openstack.connect(load_yaml_config=True, **self.login(name)).session)

    def login(self, name: str) -> dict[str, Any]:
        """How to log in at one of them."""
        document: dict[str, Any] = yaml.safe_load(self.config.read_text())["clouds"][name]
        return document


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    require("ip", "nft")
    with ExitStack() as running:
        clouds = {
            name: running.enter_context(Cloud(prefix, NO_GUESTS)) for name, prefix in (("paris", "qp"), ("oslo", "qo"))
        }
        config = tmp_path_factory.mktemp("clouds") / "clouds.yaml"
        config.write_text(yaml.safe_dump({"clouds": {name: _login(cloud) for name, cloud in clouds.items()}}))
        yield Pair(clouds, config)


def _login(cloud: Cloud) -> dict[str, Any]:
    auth = {
        "auth_url": f"{cloud.url}/identity/v3", "username": "admin", "password": cloud.admin_password,
        "project_name": "admin", "user_domain_name": "Default", "project_domain_name": "Default",
    }  # fmt: skip
    return {"auth": auth, "region_name": "RegionOne"}


@pytest.mark.real
def test_the_page_works_as_it_is_written(pair: Pair, tmp_path: Path) -> None:
    data = os.urandom(5_000_000)
    (tmp_path / "disk.raw").write_bytes(data)
    commands = [line for box in BOX.findall(PAGE.read_text()) for line in box.splitlines()]
    assert len(commands) >= 10
    script = "\n".join(["set -eux -o pipefail", *commands])
    done = pair.run("bash", "-c", script, directory=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "exit code 1: something is to be done" in done.stdout
    (original,) = pair.glance("paris").images.list(filters={"name": "web"})
    (made,) = pair.glance("oslo").images.list(filters={"name": "web"})
    server_made = {"created_at", "updated_at", "owner", "stores"}
    assert sorted(made["tags"]) == sorted(original["tags"]) == ["base", "newer"]
    assert {name for name in original if original[name] != made[name]} <= server_made | {"tags"}
    assert md5(b"".join(pair.glance("oslo").images.data(made["id"]))) == md5(data)


@pytest.mark.real
def test_many_images_by_any_kind_of_login(pair: Pair, tmp_path: Path) -> None:
    paris = pair.glance("paris")
    for number in range(30):
        made = paris.images.create(name=f"n{number}", disk_format="raw", container_format="bare")
        with (tmp_path / "data").open("w+b") as file:
            file.write(os.urandom(1000 + number))
            file.seek(0)
            paris.images.upload(made["id"], file)
    auth = pair.login("paris")["auth"]
    kept = {name: value for name, value in auth.items() if name not in ("username", "password", "user_domain_name")}
    kept["token"] = openstack.connect(**pair.login("paris")).auth_token
    document = yaml.safe_load(pair.config.read_text())
    document["clouds"]["by-token"] = {"auth_type": "token", "auth": kept}
    pair.config.write_text(yaml.safe_dump(document))
    token = openstack.connect(**pair.login("oslo")).auth_token
    images = f"{pair.clouds['oslo'].url}/image"
    words = ("pileus", "replicate", "livecopy", "by-token", images, "--to-token", token, "--name", "n*", "-j", "6")
    done = pair.run(*words, directory=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "30 copied" in done.stdout
    compared = pair.run("pileus", "replicate", "compare", "paris", "oslo", "--name", "n*", directory=tmp_path)
    assert "30 unchanged" in compared.stdout
    again = pair.run(*words, directory=tmp_path)
    assert "30 unchanged; 0 B" in again.stdout
