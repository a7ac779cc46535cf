"""`docs/federation.md`: every command in its boxes succeeds, in order, with the official client."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openstackclient.shell import OpenStackShell

from pileus.identity.federation.oidc.settings import OidcSettings
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import FakeClock, SystemClock
from pileus.kernel.db import Database
from tests.identity.conftest import ADMIN_PASSWORD, cloud_on
from tests.identity.oidc_provider import OidcProvider
from tests.identity.test_clients import Served

PAGE = Path(__file__).parents[2] / "docs" / "federation.md"
BOX = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
ISSUER = "https://idp.example"
SHOWN = {
    "identity provider": ("create", "delete", "list", "set", "show"),
    "mapping": ("create", "delete", "list", "set", "show"),
    "federation protocol": ("create", "delete", "list", "set", "show"),
    "service provider": ("create", "delete", "list", "set", "show"),
    "federation project": ("list",),
    "federation domain": ("list",),
}


def boxes(kind: str) -> list[tuple[str, str]]:
    """All boxes of a kind: file name and content."""
    return [(name, text) for found, name, text in BOX.findall(PAGE.read_text()) if found == kind]


def commands() -> list[str]:
    return [line for _, text in boxes("sh") for line in text.splitlines()]


@pytest.fixture
def house() -> Iterator[OidcProvider]:
    running = OidcProvider(["https://cloud.example/redirect_uri"])
    yield running
    running.stop()


@pytest.fixture
def served(sqlite: Database, settings: IdentitySettings, tmp_path: Path, house: OidcProvider) -> Iterator[Served]:
    section = OidcSettings(
        issuer=house.issuer, client_id="pileus", client_secret="secret of pileus", audiences=("cli",)
    )
    settings = replace(settings, oidc={"house": section})
    for cloud in cloud_on(sqlite, settings, tmp_path, FakeClock(SystemClock().now())):
        running = Served(cloud)
        yield running
        running.server.stop()
        running.thread.join(5)


def test_the_page_shows_every_command() -> None:
    text = "\n".join(commands())
    wanted = {f"openstack {noun} {verb}" for noun, verbs in SHOWN.items() for verb in verbs}
    assert {command for command in wanted if command not in text} == set()


def test_every_command_works_as_it_is_written(
    served: Served, house: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, text in boxes("json"):
        if name:
            (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "OS_AUTH_URL": f"{served.url}/identity/v3",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": ADMIN_PASSWORD,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_NAME": "admin",
        "OS_PROJECT_DOMAIN_ID": "default",
    }.items():
        monkeypatch.setenv(name, value)
    for command in commands():
        if "--os-auth-type" in command:
            monkeypatch.delenv("OS_USER_DOMAIN_ID")  # as the page says
        code = OpenStackShell().run(shlex.split(command.replace(ISSUER, house.issuer))[1:])
        captured = capsys.readouterr()
        # `federation protocol set` of this client's version answers what it has changed in place of its exit code.
        assert code == 0 or isinstance(code, tuple), f"{command}\n{captured.out}{captured.err}"
        if "token issue" in command:
            assert served.cloud.ok("GET", "/projects?name=website")["projects"][0]["id"] in captured.out
            monkeypatch.setenv("OS_USER_DOMAIN_ID", "default")
