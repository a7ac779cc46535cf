"""Settings of the libvirt driver."""

from dataclasses import dataclass

from pileus.kernel.config import setting


@dataclass(frozen=True)
class LibvirtSettings:
    """`[libvirt]`: how guests are run."""

    uri: str = setting(
        "",
        "the libvirt daemon to use, such as qemu:///system. Empty: the one that Pileus started before, else the"
        " system's if it answers, else Pileus starts one of its own",
    )
    virt_type: str = setting(
        "auto",
        "how guests' processors are made: kvm (hardware), qemu (emulation) or auto, which uses KVM if a short trial"
        " guest runs on it",
        choices=("auto", "kvm", "qemu"),
    )
    kvm_trial_timeout: float = setting(
        3.0, "how long the trial guest may take before KVM counts as not working", unit="seconds", minimum=0.5
    )
    cpu_mode: str = setting(
        "auto",
        "the processor that guests see, as libvirt names it; auto is host-model with KVM and, with emulation, Nehalem",
        choices=("auto", "host-model", "host-passthrough", "maximum", "custom"),
    )
    cpu_model: str = setting(
        "", "the processor's model when cpu_mode is custom, such as Nehalem", pattern="[A-Za-z0-9._-]*"
    )
    machine_type: str = setting(
        "pc", "the machine of guests whose image names none (hw_machine_type)", pattern="[A-Za-z0-9._-]+"
    )
    disk_cache: str = setting(
        "writeback",
        "how guests' disk files are cached: writeback is fast and honours the guest's flushes; none is needed"
        " for live migration on shared file systems",
        choices=("writeback", "none", "writethrough", "directsync"),
    )
    console_log_size: int = setting(
        1 << 20, "a guest's console log is shortened when it is larger", unit="bytes", minimum=128 << 10
    )
    reconnect_timeout: float = setting(
        15.0, "how long a request waits for a libvirt daemon that went away", unit="seconds", minimum=0
    )
