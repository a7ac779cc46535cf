"""The guest's root tree: Debian's programs with their libraries, busybox for the rest, and our scripts."""

import os
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from pileus.guest_image import modules
from pileus.guest_image.elf import needed
from pileus.guest_image.modules import ModuleTree
from pileus.guest_image.programs import BuildError, run

USER: Final = "pileus"
LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"

# Programs that busybox has not, or has without what users and Tempest's remote client call: package, path, names.
PROGRAMS: Final = (
    ("coreutils", "usr/bin/nice", ("nice",)),
    ("coreutils", "usr/bin/nohup", ("nohup",)),
    ("dosfstools", "sbin/mkfs.fat", ("mkfs.fat", "mkfs.vfat")),
    ("dropbear-bin", "usr/sbin/dropbear", ("dropbear",)),
    ("dropbear-bin", "usr/bin/dropbearkey", ("dropbearkey",)),
    ("e2fsprogs", "sbin/e2fsck", ("e2fsck", "fsck.ext4")),
    ("e2fsprogs", "sbin/mke2fs", ("mke2fs", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4")),
    ("e2fsprogs", "sbin/resize2fs", ("resize2fs",)),
    ("netcat-openbsd", "bin/nc.openbsd", ("nc.openbsd",)),
    ("sudo", "usr/bin/sudo", ("sudo",)),
    ("util-linux", "bin/lsblk", ("lsblk",)),
    ("util-linux", "sbin/blkid", ("blkid",)),
    ("util-linux", "sbin/mkfs", ("mkfs",)),
)
# Named only within programs, so no ELF header leads to them: package, path, place.
PLUGINS: Final = (
    ("libpam-modules", "lib/x86_64-linux-gnu/security/pam_permit.so", f"{LIBRARIES}/security/pam_permit.so"),
    ("sudo", "usr/libexec/sudo/sudoers.so", "usr/libexec/sudo/sudoers.so"),
    ("openssh-sftp-server", "usr/lib/openssh/sftp-server", "usr/lib/sftp-server"),
)
# Files of this package: name, place in the guest, mode.
FILES: Final = (
    ("common", "usr/lib/pileus/common", 0o644),
    ("dhcp", "usr/lib/pileus/dhcp", 0o755),
    ("json", "usr/lib/pileus/json", 0o644),
    ("late", "usr/lib/pileus/late", 0o755),
    ("metadata", "usr/lib/pileus/metadata", 0o755),
    ("nic", "usr/lib/pileus/nic", 0o755),
    ("rc", "usr/lib/pileus/rc", 0o755),
    ("uevent", "usr/lib/pileus/uevent", 0o755),
    ("poweroff", "etc/acpi/PWRF/00000080", 0o755),
    ("curl", "usr/bin/curl", 0o755),
    ("nc", "usr/bin/nc", 0o755),
    ("group", "etc/group", 0o644),
    ("inittab", "etc/inittab", 0o644),
    ("issue", "etc/issue", 0o644),
    ("pam-sudo", "etc/pam.d/sudo", 0o644),
    ("pam-sudo", "etc/pam.d/sudo-i", 0o644),
    ("passwd", "etc/passwd", 0o644),
    ("profile", "etc/profile", 0o644),
    ("shadow", "etc/shadow", 0o600),
    ("shells", "etc/shells", 0o644),
    ("sudoers", "etc/sudoers", 0o440),
)
DIRECTORIES: Final = {
    "dev": 0o755,
    "etc/dropbear": 0o700,
    "home": 0o755,
    "mnt": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr/bin": 0o755,
    "usr/lib64": 0o755,
    "usr/sbin": 0o755,
    LIBRARIES: 0o755,
    "var/lib/pileus": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
LINKS: Final = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "etc/mtab": "../proc/self/mounts",
    "etc/resolv.conf": "../run/resolv.conf",
    "usr/sbin/init": "../lib/pileus/busybox",
    "var/run": "../run",
}
TEXTS: Final = {
    "etc/hostname": "pileus\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 pileus\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
}


class Libraries:
    """Shared libraries of the unpacked packages, by name."""

    def __init__(self, packages: Iterable[Path]) -> None:
        self._found: dict[str, Path] = {}
        for package in packages:
            for pattern in ("lib/x86_64-linux-gnu/*.so*", f"{LIBRARIES}/*.so*", "usr/libexec/sudo/*.so*"):
                for path in package.glob(pattern):
                    self._found.setdefault(path.name, path.resolve())

    def closure(self, programs: Iterable[Path]) -> dict[str, Path]:
        """Every library that these programs and their libraries name.

        Raises:
            BuildError: a library is in no package of the list.
        """
        closed: dict[str, Path] = {}
        waiting = list(programs)
        while waiting:
            program = waiting.pop()
            for name in needed(program):
                if name in closed:
                    continue
                if name not in self._found:
                    raise BuildError(f"{program.name} needs {name}, which no package of the guest holds")
                closed[name] = self._found[name]
                waiting.append(closed[name])
        return closed


def populate(root: Path, packages: Mapping[str, Path], tree: ModuleTree) -> None:
    """Fill the empty directory `root` with the guest's files. Ownership is set when the file system is made."""
    for place, mode in DIRECTORIES.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        (root / place).chmod(mode)
    for place, target in LINKS.items():
        (root / place).symlink_to(target)
    for place, text in TEXTS.items():
        (root / place).write_text(text)
    _install_programs(root, packages)
    files = resources.files("pileus.guest_image").joinpath("files")
    for name, place, mode in FILES:
        _put(root / place, files.joinpath(name).read_bytes(), mode)
    _install_busybox(root, packages)
    tree.install(root, modules.ROOT_MODULES)


def _put(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _install_programs(root: Path, packages: Mapping[str, Path]) -> None:
    sources = []
    for package, path, names in PROGRAMS:
        source = packages[package] / path
        sources.append(source)
        place = root / ("usr/sbin" if "sbin/" in path else "usr/bin")
        _put(place / names[0], source.read_bytes(), 0o4755 if names[0] == "sudo" else 0o755)
        for other in names[1:]:
            (place / other).symlink_to(names[0])
    sources.append(packages["busybox"] / "bin/busybox")
    for package, path, place_name in PLUGINS:
        source = packages[package] / path
        sources.append(source)
        _put(root / place_name, source.read_bytes(), 0o755)
    for name, source in Libraries(packages.values()).closure(sources).items():
        folder = "usr/lib64" if name.startswith("ld-linux") else LIBRARIES
        if name.startswith("libsudo_util"):
            folder = "usr/libexec/sudo"
        _put(root / folder / name, source.read_bytes(), 0o755)


def _install_busybox(root: Path, packages: Mapping[str, Path]) -> None:
    """Busybox under the name of each of its applets that no other program took.

    The users' busybox is setuid root, for ping; it drops the privilege itself for applets that do not need it. The
    boot scripts have one of their own, because the static one's shell never looks for commands outside of itself.
    """
    users = packages["busybox"] / "bin/busybox"
    _put(root / "usr/bin/busybox", users.read_bytes(), 0o4755)
    _put(root / "usr/lib/pileus/busybox", (packages["busybox-static"] / "bin/busybox").read_bytes(), 0o755)
    for line in run([users, "--list-full"]).split():
        applet = Path(line)
        if not any(os.path.lexists(root / folder / applet.name) for folder in ("usr/bin", "usr/sbin")):
            administrative = applet.parent.name == "sbin"
            link = root / ("usr/sbin" if administrative else "usr/bin") / applet.name
            link.symlink_to("../bin/busybox" if administrative else "busybox")
