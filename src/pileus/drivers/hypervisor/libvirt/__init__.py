"""Guests under libvirt: QEMU, with KVM where that works."""

from pileus.drivers.hypervisor.libvirt.driver import Libvirt
from pileus.drivers.hypervisor.libvirt.opening import open_libvirt, remove_site
from pileus.drivers.hypervisor.libvirt.settings import LibvirtSettings

__all__ = ["Libvirt", "LibvirtSettings", "open_libvirt", "remove_site"]
