"""The XML that describes a guest to libvirt, and what is read back from such XML.

A domain carries metadata in a namespace of ours: which site it belongs to, who owns it, and a digest of its own
definition, by which a change is found without comparing libvirt's normalised form.
"""

import hashlib
import platform
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from pathlib import Path

from pileus.agent.api import DiskFile, Nic, Spec
from pileus.drivers.hypervisor.base import GuestPlan, GuestRefused

NAMESPACE = "urn:pileus:domain:1"
_MIB = 1024  # in KiB, libvirt's unit
_DEFAULT_COMMAND_LINE = "root=/dev/vda console=tty0 console=ttyS0"
_BUS_PREFIX = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}
_SCSI_MODELS = ("virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078")
_VIF_MODELS = ("virtio", "e1000", "e1000e", "ne2k_pci", "pcnet", "rtl8139")
_VIDEO_MODELS = ("vga", "cirrus", "virtio", "bochs", "none")
_IDE_SLOTS = 4
_EMULATED_CPU = "Nehalem"  # x86-64-v2, which enterprise distributions need; qemu64 is less

ET.register_namespace("pileus", NAMESPACE)


class Traits(Spec, frozen=True):
    """What all guests of a host have in common. `virt_type` is kvm or qemu; the rest are libvirt's own names."""

    site: str
    virt_type: str
    cpu_mode: str
    cpu_model: str
    machine_type: str
    disk_cache: str


def domain_name(site: str, instance_name: str) -> str:
    """A domain's name. A site's prefix holds no dash, so that no site's names can look like another's."""
    return f"{site}-{instance_name}"


def domain_xml(plan: GuestPlan, traits: Traits) -> tuple[str, str]:
    """The definition of a guest and its digest. GuestRefused if the guest asks for what cannot be.

    The digest is part of the definition and of nothing else: equal digests mean equal plans and traits.
    """
    spec = plan.spec
    root = ET.Element("domain", type=traits.virt_type)
    _add(root, "name", domain_name(traits.site, spec.instance_name))
    _add(root, "uuid", spec.id)
    metadata = _add(root, "metadata")
    _add(root, "memory", str(spec.memory_mb * _MIB), unit="KiB")
    _add(root, "vcpu", str(spec.vcpus))
    machine = spec.machine_properties.get("hw_machine_type", traits.machine_type)
    _describe_boot(root, plan, machine)
    _describe_smbios(root, spec.id)
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _describe_cpu(root, traits)
    _describe_clock(root, traits)
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _add(root, event, action)
    devices = _add(root, "devices")
    _describe_disks(devices, plan, machine, traits.disk_cache)
    for nic in spec.nics:
        _describe_nic(devices, nic, plan)
    _describe_console(devices, plan.console_log)
    _describe_display(devices, spec.machine_properties)
    _describe_rest(devices, spec.machine_properties)
    instance = _describe_owner(metadata, plan, traits.site)
    digest = hashlib.sha256(ET.tostring(root)).hexdigest()
    _add(instance, _ours("digest"), digest)
    return ET.tostring(root, encoding="unicode"), digest


def owner_of(metadata_xml: str) -> tuple[str, str]:
    """Site and digest from a domain's metadata in our namespace."""
    root = ET.fromstring(metadata_xml)  # noqa: S314 - written by us, and normalised by libvirt
    return (_text(root, "site"), _text(root, "digest"))


def console_log_of(domain: str) -> Path | None:
    """Where a domain's serial console is logged, from its definition."""
    log = ET.fromstring(domain).find("./devices/serial/log")  # noqa: S314 - from libvirt
    return None if log is None else Path(log.get("file", ""))


def _text(root: ET.Element, name: str) -> str:
    for tag in (_ours(name), name):
        if (found := root.findtext(tag)) is not None:
            return found
    return ""


def _ours(tag: str) -> str:
    return f"{{{NAMESPACE}}}{tag}"


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = None if text is None else _legal(text)
    return element


def _legal(text: str) -> str:
    """`text` without the characters that XML cannot carry: names are users' input."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _choice(properties: dict[str, str], name: str, default: str, choices: Iterable[str]) -> str:
    """An image property's value, which must be one of `choices`."""
    value = properties.get(name, default)
    known = tuple(choices)
    if value not in known:
        raise GuestRefused(f"{name} {value!r} is not offered here; one of {', '.join(known)} is")
    return value


def _describe_owner(metadata: ET.Element, plan: GuestPlan, site: str) -> ET.Element:
    spec = plan.spec
    instance = ET.SubElement(metadata, _ours("instance"))
    for name, value in (
        ("site", site),
        ("name", spec.name),
        ("project", spec.project_id),
        ("user", spec.user_id),
        ("flavor", spec.flavor_name),
    ):
        _add(instance, _ours(name), value)
    return instance


def _describe_boot(root: ET.Element, plan: GuestPlan, machine: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", machine):
        raise GuestRefused(f"hw_machine_type {machine!r} is not the name of a machine")
    by_role = {disk.role: disk for disk in plan.disks}
    os_ = _add(root, "os")
    _add(os_, "type", "hvm", arch=platform.machine(), machine=machine)
    if kernel := by_role.get("kernel"):
        _add(os_, "kernel", kernel.path)
        if ramdisk := by_role.get("ramdisk"):
            _add(os_, "initrd", ramdisk.path)
        _add(os_, "cmdline", plan.spec.kernel_command_line or _DEFAULT_COMMAND_LINE)
    else:
        _add(os_, "boot", dev="hd")
    _add(os_, "smbios", mode="sysinfo")


def _describe_smbios(root: ET.Element, guest_id: str) -> None:
    """What cloud-init and others know an OpenStack guest by."""
    system = _add(_add(root, "sysinfo", type="smbios"), "system")
    for name, value in (
        ("manufacturer", "OpenStack Foundation"),
        ("product", "OpenStack Nova"),
        ("serial", guest_id),
        ("uuid", guest_id),
        ("family", "Virtual Machine"),
    ):
        _add(system, "entry", value, name=name)


def _describe_cpu(root: ET.Element, traits: Traits) -> None:
    mode = traits.cpu_mode
    if mode == "auto":
        mode = "host-model" if traits.virt_type == "kvm" else "custom"
    if mode == "custom":
        cpu = _add(root, "cpu", mode="custom", match="exact")
        _add(cpu, "model", traits.cpu_model or _EMULATED_CPU, fallback="allow")
    else:
        _add(root, "cpu", mode=mode)


def _describe_clock(root: ET.Element, traits: Traits) -> None:
    clock = _add(root, "clock", offset="utc")
    if traits.virt_type == "kvm":
        _add(clock, "timer", name="pit", tickpolicy="delay")
        _add(clock, "timer", name="rtc", tickpolicy="catchup")
        _add(clock, "timer", name="hpet", present="no")


def _describe_disks(devices: ET.Element, plan: GuestPlan, machine: str, cache: str) -> None:
    properties = plan.spec.machine_properties
    modern = "q35" in machine
    buses = [bus for bus in _BUS_PREFIX if not (bus == "ide" and modern)]
    bus = _choice(properties, "hw_disk_bus", "virtio", buses)
    cdrom_bus = _choice(properties, "hw_cdrom_bus", "sata" if modern else "ide", buses)
    names = {prefix: _letters(prefix) for prefix in set(_BUS_PREFIX.values())}
    for disk in plan.disks:
        if disk.role in ("kernel", "ramdisk"):
            continue
        is_cdrom = disk.role == "config"
        on = cdrom_bus if is_cdrom else bus
        _describe_disk(devices, disk, on, next(names[_BUS_PREFIX[on]]), cache, is_cdrom=is_cdrom)
    if len(devices.findall("./disk/target[@bus='ide']")) > _IDE_SLOTS:
        raise GuestRefused(f"hw_disk_bus 'ide' has room for {_IDE_SLOTS} disks")
    if "scsi" in (bus, cdrom_bus):
        model = _choice(properties, "hw_scsi_model", "virtio-scsi", _SCSI_MODELS)
        _add(devices, "controller", type="scsi", index="0", model=model)


def _letters(prefix: str) -> Iterator[str]:
    for letter in "abcdefghijklmnopqrstuvwxyz":
        yield f"{prefix}{letter}"


def _describe_disk(devices: ET.Element, disk: DiskFile, bus: str, name: str, cache: str, *, is_cdrom: bool) -> None:
    element = _add(devices, "disk", type="file", device="cdrom" if is_cdrom else "disk")
    if is_cdrom:
        _add(element, "driver", name="qemu", type=disk.format)
    else:
        _add(element, "driver", name="qemu", type=disk.format, cache=cache, discard="unmap")
    _add(element, "source", file=disk.path)
    _add(element, "target", dev=name, bus=bus)
    if is_cdrom:
        _add(element, "readonly")


def _describe_nic(devices: ET.Element, nic: Nic, plan: GuestPlan) -> None:
    tap = plan.taps.get(nic.port_id)
    if tap is None:
        raise GuestRefused(f"port {nic.port_id} has no interface on this host")
    properties = plan.spec.machine_properties
    model = _choice(properties, "hw_vif_model", nic.model, _VIF_MODELS)
    interface = _add(devices, "interface", type="ethernet")
    _add(interface, "mac", address=nic.mac)
    _add(interface, "target", dev=tap, managed="no")
    _add(interface, "model", type=model)
    _add(interface, "mtu", size=str(nic.mtu))
    _add(interface, "rom", enabled="no")  # no booting from the network: saves a second of the firmware's time


def _describe_console(devices: ET.Element, path: Path) -> None:
    serial = _add(devices, "serial", type="pty")
    _add(serial, "log", file=str(path), append="on")
    _add(serial, "target", port="0")
    _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")


def _describe_display(devices: ET.Element, properties: dict[str, str]) -> None:
    """VNC on a socket that libvirtd hands out (virDomainOpenGraphicsFD): no port for other users of the host."""
    model = _choice(properties, "hw_video_model", "vga", _VIDEO_MODELS)
    if model != "none":
        _add(_add(devices, "graphics", type="vnc"), "listen", type="socket")
    _add(_add(devices, "video"), "model", type=model)


def _describe_rest(devices: ET.Element, properties: dict[str, str]) -> None:
    _add(_add(devices, "memballoon", model="virtio"), "stats", period="10")
    _choice(properties, "hw_rng_model", "virtio", ("virtio",))
    _add(_add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    _add(devices, "controller", type="usb", model="none")
