"""Which host is chosen, and what is said when there is none."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pytest

from pileus.agent.api import Inventory as HostInventory
from pileus.kernel.clock import FakeClock
from pileus.kernel.db import Database, Tx
from pileus.placement.domain import DISK_GB, MEMORY_MB, VCPU, Inventory
from pileus.scheduler.aggregates import matches
from pileus.scheduler.domain import HostRequest
from pileus.scheduler.service import NoValidHost, Scheduler
from pileus.scheduler.settings import SchedulerSettings

NEED = {VCPU: 1, MEMORY_MB: 100, DISK_GB: 1}
INVENTORY = HostInventory(
    host="h",
    hypervisor_type="fake",
    hypervisor_version=1,
    arch="x86_64",
    cpu_model="fake",
    vcpus=10,
    memory_mb=1000,
    memory_mb_used=0,
    disk_gb=100,
    disk_gb_free=100,
    host_ip="127.0.0.1",
)


class Host(msgspec.Struct):
    name: str
    up: bool = True
    enabled: bool = True
    availability_zone: str = "nova"
    inventory: HostInventory = INVENTORY
    booted_at: int = 0


@dataclass
class Hosts:
    """A registry whose hosts all have the same amount of everything."""

    hosts: list[Host]
    used: Counter[str] = field(default_factory=Counter)
    reads: int = 0

    def all(self, _tx: Tx) -> list[Host]:
        self.reads += 1
        return self.hosts

    def usages(self, _tx: Tx) -> dict[str, dict[str, Inventory]]:
        return {
            host.name: {
                name: Inventory(host.name, name, total, 0, 1.0, self.used[host.name] * NEED[name])
                for name, total in ((VCPU, 10), (MEMORY_MB, 1000), (DISK_GB, 100))
            }
            for host in self.hosts
        }


def scheduler(hosts: Hosts, clock: FakeClock | None = None) -> Scheduler:
    return Scheduler(SchedulerSettings(), hosts, hosts, clock or FakeClock())


def test_servers_are_spread(sqlite: Database) -> None:
    chooses = scheduler(Hosts([Host(f"h{number}") for number in range(4)]))
    chosen = Counter(chooses.select(sqlite, HostRequest(resources=NEED)).name for _ in range(20))
    assert set(chosen.values()) == {5}


def test_a_host_with_the_image_is_preferred_until_it_is_fuller_than_others(sqlite: Database) -> None:
    cached = msgspec.structs.replace(INVENTORY, cached_images=("feed",))
    chooses = scheduler(Hosts([Host("h1"), Host("h2", inventory=cached), Host("h3")]))
    request = HostRequest(resources=NEED, image_checksum="feed")
    chosen = [chooses.select(sqlite, request).name for _ in range(12)]
    assert chosen[:2] == ["h2", "h2"]
    assert {"h1", "h3"} < set(chosen)
    assert Counter(chosen)["h2"] < 8


@pytest.mark.parametrize(
    ("request_fields", "name"),
    [
        ({"host": "h2"}, "h2"),
        ({"availability_zone": "other"}, "h3"),
        ({"tried": frozenset({"h1", "h3"})}, "h2"),
        ({"same_hosts": frozenset({"h3"})}, "h3"),
        ({"different_hosts": frozenset({"h2", "h3"})}, "h1"),
    ],
)
def test_filters(sqlite: Database, request_fields: dict[str, object], name: str) -> None:
    chooses = scheduler(Hosts([Host("h1"), Host("h2"), Host("h3", availability_zone="other")]))
    request = HostRequest(resources=NEED, **request_fields)  # type: ignore[arg-type]
    assert chooses.select(sqlite, request).name == name


def test_a_refusal_counts_what_stood_in_the_way(sqlite: Database) -> None:
    hosts = Hosts([Host("h1", up=False), Host("h2", enabled=False), Host("h3"), Host("h4")])
    hosts.used["h3"] = 10
    with pytest.raises(NoValidHost) as refused:
        scheduler(hosts).select(sqlite, HostRequest(resources=NEED, tried=frozenset({"h4"})))
    assert refused.value.message == (
        "No valid host was found. Of 4 hosts: 2 down or disabled (ComputeFilter), 1 refused it before (RetryFilter), "
        "1 without enough free VCPU (VCPU)."
    )
    with pytest.raises(NoValidHost, match="There are no hosts"):
        scheduler(Hosts([])).select(sqlite, HostRequest(resources=NEED))


def test_the_snapshot_is_renewed_by_age_and_before_a_refusal(sqlite: Database) -> None:
    clock, hosts = FakeClock(), Hosts([Host("h1")])
    chooses = scheduler(hosts, clock)
    for _ in range(10):
        chooses.select(sqlite, HostRequest(resources=NEED))
    assert hosts.reads == 1
    chooses.select(sqlite, HostRequest(resources=NEED))  # the snapshot is full by now: what is true is read again
    assert hosts.reads == 2
    clock.advance(2)
    chooses.select(sqlite, HostRequest(resources=NEED))
    assert hosts.reads == 3


# --- aggregates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        ("true", "true", True),
        ("true", "True", False),
        ("", "", True),
        ("4", "= 4", True),
        ("5", "= 4", True),
        ("3", "= 4", False),
        ("4.0", "== 4", True),
        ("5", "!= 4", True),
        ("3", "<= 4", True),
        ("10", ">= 9", True),
        ("x", ">= 9", False),
        ("abc", "s== abc", True),
        ("abc", "s!= abc", False),
        ("10", "s< 9", True),
        ("10", "s>= 9", False),
        ("abc", "<in> b", True),
        ("abc", "<in> d", False),
        ("abc", "<all-in> a c", True),
        ("abc", "<all-in> a d", False),
        ("b", "<or> a <or> b", True),
        ("c", "<or> a <or> b", False),
        ("==", "==", True),
        ("a b", "a b", True),
    ],
)
def test_extra_specs_of_aggregates(value: str, wanted: str, fits: bool) -> None:
    assert matches(value, wanted) is fits


@pytest.mark.parametrize(
    ("request_fields", "names"),
    [
        ({}, {"plain", "fast", "kept"}),
        ({"project_id": "p"}, {"plain", "fast", "kept"}),
        ({"project_id": "q"}, {"plain", "fast"}),
        ({"extra_specs": {"ssd": "true", "hw:numa": "1"}}, {"plain", "fast", "kept"}),
        ({"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}}, {"fast"}),
        ({"extra_specs": {"aggregate_instance_extra_specs:ssd": "<or> true <or> big"}}, {"fast", "kept"}),
        ({"image_properties": {"os_distro": "debian"}}, {"plain", "fast", "kept"}),
        ({"image_properties": {"os_distro": "windows"}}, {"plain", "kept"}),
    ],
)
def test_filters_by_aggregates(sqlite: Database, request_fields: dict[str, object], names: set[str]) -> None:
    said = {
        "fast": {"ssd": {"true"}, "os_distro": {"debian", "ubuntu"}},
        "kept": {"ssd": {"big", "slow"}, "filter_tenant_id": {"o"}, "filter_tenant_id_2": {"p"}},
    }
    hosts = Hosts([Host("plain"), Host("fast"), Host("kept")])
    chooses = Scheduler(SchedulerSettings(), hosts, hosts, FakeClock(), lambda _tx: said)
    request = HostRequest(resources=NEED, **request_fields)  # type: ignore[arg-type]
    assert {chooses.select(sqlite, request).name for _ in range(9)} == names
