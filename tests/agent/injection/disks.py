"""Disks with a small guest's root file system, made without mounting, and what is in them afterwards, by the kernel."""

import io
import json
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pileus.agent.injection.settings import InjectionSettings

MIB = 1 << 20
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"
SHADOW = "daemon:*:1:0:99999:7:::\nroot:!:1:0:99999:7:::\n"
MASKED = 0o640


def run(*command: str | Path, data: bytes = b"") -> bytes:
    done = subprocess.run([str(word) for word in command], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_root(directory: Path) -> Path:
    """The tree of a guest: an account, a key, a shadow file of its own mode and owner."""
    root = directory / "root"
    for name in ("etc/network", "root/.ssh", "var", "tmp"):
        (root / name).mkdir(parents=True)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/shadow").write_text(SHADOW)
    (root / "etc/shadow").chmod(MASKED)
    (root / "root").chmod(0o700)
    (root / "root/.ssh/authorized_keys").write_text("ssh-rsa AAAA before")  # without an end of line
    return root


def make_filesystem(root: Path, path: Path, size: int, *options: str) -> Path:
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", root, path, f"{size // 1024}k")
    return path


def make_partitioned(path: Path, label: str, *filesystems: Path) -> Path:
    """A raw disk with a partition table, "dos" or "gpt", and each file system in a partition of its own."""
    size = MIB + sum(one.stat().st_size for one in filesystems) + 2 * MIB
    with path.open("wb") as file:
        file.truncate(size)
    start, lines = MIB, []
    with path.open("r+b") as file:
        for one in filesystems:
            lines.append(f"start={start // 512}, size={one.stat().st_size // 512}, type=L")
            file.seek(start)
            file.write(one.read_bytes())
            start += one.stat().st_size
    run("sfdisk", "-q", "--no-tell-kernel", path, data="\n".join([f"label: {label}", "", *lines, ""]).encode())
    return path


def overlay(base: Path) -> Path:
    path = base.with_suffix(".qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path)
    return path


@dataclass(frozen=True)
class Seen:
    """A file of a disk, as the kernel sees it."""

    content: bytes
    mode: int
    owner: tuple[int, int]


def tree_of(path: Path, disk_format: str, offset: int = 0, size: int | None = None) -> dict[str, Seen]:
    """All files and directories of a disk. The file system must be without fault."""
    raw = path.with_suffix(".seen")
    run("qemu-img", "convert", "-f", disk_format, "-O", "raw", path, raw)
    alone = path.with_suffix(".alone")
    with raw.open("rb") as file:
        file.seek(offset)
        alone.write_bytes(file.read() if size is None else file.read(size))
    run("e2fsck", "-f", "-n", alone)
    place = path.with_suffix(".place")
    place.mkdir(exist_ok=True)
    script = 'mount -o loop,ro,nosymfollow "$1" "$2" && tar -c -C "$2" .'
    packed = run("unshare", "--mount", "sh", "-c", script, "sh", alone, place)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for one in archive:
            file_ = archive.extractfile(one) if one.isreg() else None
            content = file_.read() if file_ is not None else b""
            found["/" + one.name.removeprefix("./")] = Seen(content, one.mode, (one.uid, one.gid))
    return found


def settings(handlers: str = "debugfs", **more: object) -> InjectionSettings:
    return InjectionSettings(enabled=True, handlers=handlers, **more)  # type: ignore[arg-type]


def loops(under: Path) -> list[str]:
    """The loop devices that show files under a directory, removed ones too."""
    listed = run("losetup", "--json", "--list", "--output", "NAME,BACK-FILE")
    devices = json.loads(listed)["loopdevices"] if listed.strip() else []
    return [one["name"] for one in devices if (one["back-file"] or "").startswith(str(under))]


def processes(mentioning: Path) -> dict[int, list[bytes]]:
    """The processes whose command line names a path, each with that line's words."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(mentioning).encode() in line:
            found[int(entry.name)] = line.split(b"\0")
    return found
