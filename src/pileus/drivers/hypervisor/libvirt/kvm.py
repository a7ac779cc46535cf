"""Whether KVM truly works: a trial guest decides.

That /dev/kvm exists proves little. On some machines (nested virtualisation without hardware support) guests start
on it and then crawl so slowly that they never boot. The trial guest is a boot sector that goes the way of an operating
system's kernel: from real mode through protected to 64-bit mode with paging, then a loop of 2^25 rounds, which a
real processor runs in some hundredths of a second, then twenty timer interrupts; then it tells QEMU to exit.
"""

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import msgspec
import structlog

from pileus.agent.api import Spec

log = structlog.get_logger("pileus.hypervisor")

DEVICE = Path("/dev/kvm")
_SUCCESS = 33  # isa-debug-exit exits with (value << 1) | 1; the boot sector writes 0x10


# Loaded at 0x7c00. Page tables are made at 0x1000 to 0x3fff, the interrupt table at 0x4000.
_BOOT_SECTOR = (
    bytes.fromhex(
        "fa 31c0 8ed8 8ec0 8ed0 bc007c fc"  # cli; ds, es and ss = 0; sp = 0x7c00; cld
        "bf0010 b90018 f3ab"  # clear the page tables
        "c70600100720 c70600200730 c70600308700"  # PML4 to PDPT to PD: one page of 2 MiB at 0
        "66b820000000 0f22e0 66b800100000 0f22d8"  # cr4 = PAE; cr3 = PML4
        "66b9800000c0 0f32 0d0001 0f30"  # EFER: long mode
        "0f0116e87c 66b811000080 0f22c0 ea597c0800"  # lgdt; cr0 = PG and PE; to 64-bit code at 0x7c59
        "b810000000 8ed0 8ed8 8ec0"  # ss, ds and es
        "48b800000800008e0000 bac57c0000 4809d0"  # gate of interrupt 0x20 to 0x7cc5
        "bf00420000 48ab 31c0 48ab 0f011c25ee7c0000"  # write it; lidt
        "b011e620 b020e621 b004e621 b001e621 b0fee621"  # interrupt controller: from 0x20 on, the timer alone
        "b034e643 b0a9e640 b004e640"  # timer: 1000 Hz
        "b900000002 ffc9 75fc"  # 0x2000000 rounds of nothing
        "31db fb f4 83fb14 72fa"  # sleep until 20 interrupts were counted
        "66baf400 b010 ee f4 ebfd"  # tell the exit device
        "ffc3 b020e620 48cf 0f1f00"  # 0x7cc5, the interrupt: count, acknowledge
        "0000000000000000 00000000009a2000 0000000000920000"  # descriptors: none, 64-bit code, data
        "1700d07c0000 0f0200400000"  # pointers to them and to the interrupt table
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)


class KvmVerdict(Spec, frozen=True):
    """Whether guests can use KVM here, and why, as a sentence for operators."""

    usable: bool
    reason: str


class _Remembered(Spec, frozen=True):
    host: str
    verdict: KvmVerdict


def verdict(qemu: str, timeout: float, memory: Path) -> KvmVerdict:
    """Whether KVM works with the program `qemu`. The trial's result is remembered in the file `memory`.

    It is tried anew after a change of kernel or QEMU. A machine so busy that even emulation fails the trial within
    `timeout` seconds is told nothing about: KVM is not used then, and tried again the next time.
    """
    if not DEVICE.exists():
        return KvmVerdict(usable=False, reason=f"there is no {DEVICE}")
    host = _fingerprint(qemu)
    try:
        remembered = msgspec.json.decode(memory.read_bytes(), type=_Remembered)
    except (FileNotFoundError, msgspec.DecodeError):
        remembered = None
    if remembered is not None and remembered.host == host:
        return remembered.verdict
    found, certain = try_out(qemu, timeout)
    if certain:
        partial = memory.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(_Remembered(host=host, verdict=found)))
        partial.replace(memory)
    log.info("KVM works" if found.usable else "KVM is not used", reason=found.reason)
    return found


def try_out(qemu: str, timeout: float) -> tuple[KvmVerdict, bool]:
    """Run the trial guest: the verdict, and whether it would be the same the next time."""
    failure = _trial(qemu, "kvm", timeout)
    if failure is None:
        return KvmVerdict(usable=True, reason="the trial guest ran on KVM"), True
    if (emulated := _trial(qemu, "tcg", timeout)) is not None:
        return KvmVerdict(usable=False, reason=f"no trial was possible: under emulation, {emulated}"), False
    reason = f"{DEVICE} is there, but on it {failure}; under emulation it ran"
    return KvmVerdict(usable=False, reason=reason), True


def _trial(qemu: str, accelerator: str, timeout: float) -> str | None:
    """Boot the trial guest. None if it ran to its end, else what went wrong."""
    with tempfile.NamedTemporaryFile(prefix="pileus-kvm-", suffix=".raw") as disk:
        disk.write(_BOOT_SECTOR)
        disk.flush()
        command = [
            qemu,
            *("-nodefaults", "-no-user-config", "-display", "none", "-machine", f"pc,accel={accelerator}", "-m", "16"),
            *("-drive", f"file={disk.name},format=raw,if=ide,snapshot=on"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        ]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return f"the trial guest did not end within {timeout:g} s"
        except OSError as err:
            return f"{qemu} could not be run: {err.strerror}"
    if ended.returncode == _SUCCESS:
        return None
    complaint = ended.stderr.strip().splitlines()
    return f"the trial guest failed: {complaint[-1] if complaint else f'exit code {ended.returncode}'}"


def _fingerprint(qemu: str) -> str:
    """What a remembered verdict depends on: kernel, QEMU, the device and the processor."""
    path = shutil.which(qemu)
    program = Path(path).stat() if path else None
    device = DEVICE.stat()
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return " ".join(
        str(part)
        for part in (
            platform.release(),
            platform.version(),
            f"{program.st_size}-{program.st_mtime_ns}" if program else "none",
            f"{device.st_rdev}",
            model,
        )
    )
