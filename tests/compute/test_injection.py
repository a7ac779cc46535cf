"""Files of a request, and what of a server is written into its disk."""

import base64
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from pileus.agent.api import InjectedFile, Injection
from pileus.compute.servers.injection import InjectionChoice, from_params
from pileus.kernel.db import Database
from pileus.kernel.saga.tables import saga
from tests.compute.fakes import IMAGE
from tests.compute.world import World

HELLO = InjectedFile(path="/etc/motd", content=b"hello\n")


def wanted(*files: InjectedFile) -> list[dict[str, str]]:
    return [{"path": one.path, "contents": base64.b64encode(one.content).decode()} for one in files]


def ask(world: World, personality: Sequence[Any], **fields: Any) -> Any:
    body = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "1", "personality": personality, **fields}}
    return world.request("POST", "/servers", body)


def make(world: World, *files: InjectedFile, **fields: Any) -> str:
    answer = ask(world, wanted(*files), **fields)
    assert answer.status_code == 202, answer.text
    world.run()
    server_id: str = answer.json["server"]["id"]
    return server_id


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


def into_disk(database: Database, **choice: Any) -> World:
    return World(database, injection=InjectionChoice(enabled=True, **choice))


def test_files_go_to_a_config_drive_that_nobody_asked_for(world: World) -> None:
    """Where nothing is written into disks they would be lost else."""
    server_id = make(world, HELLO, adminPass="secret")
    host = world.hosts.by_name["h1"]
    assert host.metadata[server_id].files == (HELLO,)
    assert host.metadata[server_id].admin_pass == "secret"
    assert (host.disks[server_id].config_drive, host.disks[server_id].inject) == (True, None)
    assert world.request("GET", f"/servers/{server_id}").json["server"]["config_drive"] == "True"
    other = make(world)
    assert (host.metadata[other].files, host.disks[other].config_drive) == ((), False)


def test_files_go_into_the_disk_where_that_is_chosen(database: Database) -> None:
    world = into_disk(database)
    server_id = make(world, HELLO, metadata={"role": "web"}, key_name="mine", adminPass="secret")
    spec = world.hosts.by_name["h1"].disks[server_id]
    assert (spec.config_drive, spec.inject) == (False, Injection(files=(HELLO,)))


def test_the_config_drive_is_preferred_unless_both_are_asked_for(database: Database) -> None:
    for both in (False, True):
        world = into_disk(database, with_config_drive=both)
        server_id = make(world, HELLO, config_drive=True)
        host = world.hosts.by_name["h1"]
        assert host.metadata[server_id].files == (HELLO,)
        assert (host.disks[server_id].inject is not None) is both


def test_what_else_goes_into_the_disk(database: Database) -> None:
    world = into_disk(database, key=True, password=True, metadata=True)
    server_id = make(world, key_name="mine", adminPass="secret", metadata={"role": "web"})
    host = world.hosts.by_name["h1"]
    told = host.metadata[server_id]
    assert host.disks[server_id].inject == Injection(
        public_keys=tuple(told.public_keys.values()),
        admin_pass="secret",
        metadata={"role": "web"},
    )
    assert told.public_keys


@pytest.mark.parametrize(
    ("when", "kind", "written"),
    [
        ("without-dhcp", "ipv4", True),
        ("without-dhcp", "ipv6", True),
        ("without-dhcp", "ipv4_dhcp", False),
        ("always", "ipv4_dhcp", True),
        ("never", "ipv4", False),
    ],
)
def test_when_network_configuration_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch, when: str, kind: str, written: bool
) -> None:
    world = into_disk(database, network=when)
    data: dict[str, object] = {
        "links": [],
        "services": [],
        "networks": [{"id": "network0", "type": kind, "link": "tap1"}],
    }
    monkeypatch.setattr(world.networks, "network_data", lambda _tx, _server: data)
    inject = world.hosts.by_name["h1"].disks[make(world)].inject
    assert inject == (Injection(network_data=data) if written else None)


def test_a_password_is_kept_only_for_guests_that_get_it(database: Database) -> None:
    for choice, kept in ((InjectionChoice(), None), (InjectionChoice(enabled=True, password=True), "xyzzy")):
        world = World(database, injection=choice)
        server_id = ask(world, [], adminPass="xyzzy").json["server"]["id"]
        with database.read() as tx:
            params = tx.scalar(sa.select(saga.c.params).where(saga.c.resource == server_id))
        assert from_params(params, world.compute.servers.seal).admin_pass == kept
        assert kept is None or kept not in str(params)
        world.run()
        assert world.hosts.by_name["h1"].metadata[server_id].admin_pass is None


@pytest.mark.parametrize(
    ("path", "kept"), [("test.txt", "/test.txt"), ("etc/a b", "/etc/a b"), ("//etc/./x", "/etc/x"), ("/ä", "/ä")]
)
def test_paths_begin_at_the_root(world: World, path: str, kept: str) -> None:
    server_id = make(world, InjectedFile(path=path, content=b""))
    assert [one.path for one in world.hosts.by_name["h1"].metadata[server_id].files] == [kept]


@pytest.mark.parametrize("path", ["", "/", "/etc/", "../x", "/etc/../../x", "/a\nb", "/" + "ä" * 128])
def test_paths_that_mean_no_file_are_refused(world: World, path: str) -> None:
    answer = ask(world, wanted(InjectedFile(path=path, content=b"")))
    assert answer.status_code in (400, 403)
    assert "ersonality" in answer.text or "injected_file_path_bytes" in answer.text


@pytest.mark.parametrize(
    ("files", "resource"),
    [
        ([HELLO] * 6, "injected_files"),
        ([InjectedFile(path="/x", content=b"x" * 10241)], "injected_file_content_bytes"),
        ([InjectedFile(path="/x" * 128, content=b"")], "injected_file_path_bytes"),
    ],
)
def test_quotas(world: World, files: list[InjectedFile], resource: str) -> None:
    answer = ask(world, wanted(*files))
    assert (answer.status_code, "forbidden" in answer.json) == (403, True)
    assert f"Quota exceeded for {resource}" in answer.text


def test_as_much_as_the_quotas_allow(world: World) -> None:
    files = [InjectedFile(path=f"/{n}" * 127 + "x", content=b"x" * 10240) for n in range(5)]
    server_id = make(world, *files)
    assert world.hosts.by_name["h1"].metadata[server_id].files == tuple(files)
    assert world.audit() == []
