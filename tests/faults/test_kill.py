"""A short run of `tests.faults.kill`: on fake drivers with many servers, and with real guests."""

import pytest

from tests.cloud import Cloud
from tests.faults.kill import FAKE, SETTINGS, guest_disk, run
from tests.real_things import require


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_left_on_fake_drivers() -> None:
    with Cloud("qf", SETTINGS | FAKE) as cloud:
        outcome = run(cloud, kills=8, seed=8, customers=4, most=6, image=None)
    assert outcome.wrong == []
    assert sum(outcome.kills.values()) == 8
    assert outcome.servers > 20


@pytest.mark.real
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_left_with_real_guests() -> None:
    require("qemu-system-x86_64", "libvirtd", "nft", "dnsmasq", "ip")
    with Cloud("qk", SETTINGS) as cloud:
        outcome = run(cloud, kills=8, seed=21, customers=2, most=2, image=guest_disk())
    assert outcome.wrong == []
    assert sum(outcome.kills.values()) == 8
    assert outcome.servers > 5
