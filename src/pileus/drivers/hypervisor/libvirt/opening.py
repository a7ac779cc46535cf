"""Which libvirtd a site uses, and how it is started and left."""

import os

from pileus.drivers.hypervisor.libvirt import kvm
from pileus.drivers.hypervisor.libvirt.daemon import OwnLibvirtd, system_libvirtd_answers
from pileus.drivers.hypervisor.libvirt.driver import Libvirt
from pileus.drivers.hypervisor.libvirt.kvm import KvmVerdict
from pileus.drivers.hypervisor.libvirt.settings import LibvirtSettings
from pileus.kernel.clock import Clock
from pileus.kernel.settings import SiteSettings

SYSTEM_URI = "qemu:///system"


def open_libvirt(settings: LibvirtSettings, site: SiteSettings, clock: Clock) -> Libvirt:
    """The driver for a site's guests on this host; starts a libvirtd if the site needs one of its own.

    Guests of an earlier driver are found again. HypervisorUnreachable if no libvirtd can be had.
    """
    verdict = kvm_verdict(settings, site)
    uri, own = _libvirtd(settings, site, verdict, clock)
    if own is None:
        return Libvirt(settings, site.prefix, clock, uri=uri, verdict=verdict)
    own.ensure_running()
    return Libvirt(
        settings,
        site.prefix,
        clock,
        uri=uri,
        verdict=verdict,
        revive=own.ensure_running,
        disk_owner=own.qemu_owner,
    )


def remove_site(settings: LibvirtSettings, site: SiteSettings, clock: Clock) -> None:
    """End all guests of the site, their power cut, and the libvirtd that was started for it. Safe to repeat."""
    uri, own = _libvirtd(settings, site, KvmVerdict(usable=False, reason="no guest is started"), clock)
    if own is not None:
        own.stop()
        return
    driver = Libvirt(settings, site.prefix, clock, uri=uri, verdict=KvmVerdict(usable=False, reason="leaving"))
    for guest_id in driver.list_guests():
        driver.ensure_no_guest(guest_id)
    driver.close()


def kvm_verdict(settings: LibvirtSettings, site: SiteSettings) -> KvmVerdict:
    """Whether KVM is used, and why; from memory if it was tried before on this machine as it is."""
    if settings.virt_type != "auto":
        return KvmVerdict(usable=settings.virt_type == "kvm", reason=f"[libvirt] virt_type is {settings.virt_type}")
    memory = site.state_dir / "libvirt"
    memory.mkdir(parents=True, exist_ok=True)
    return kvm.verdict(f"qemu-system-{os.uname().machine}", settings.kvm_trial_timeout, memory / "kvm.json")


def _libvirtd(
    settings: LibvirtSettings, site: SiteSettings, verdict: KvmVerdict, clock: Clock
) -> tuple[str, OwnLibvirtd | None]:
    """The libvirtd to use: the configured one, else our own if it was started before, else the system's, else ours."""
    if settings.uri:
        return settings.uri, None
    own = OwnLibvirtd(site.state_dir, site.run_dir, verdict.usable, clock)
    if not own.exists() and system_libvirtd_answers():
        return SYSTEM_URI, None
    return own.uri, own
