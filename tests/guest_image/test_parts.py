"""The builder's own logic, without building: packages, ELF, modules, the archive, the disk's layout, JSON in awk."""

import json
import shutil
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real_things import require

from pileus.guest_image.builder import FORMATS, MANIFEST, inputs_key, is_current
from pileus.guest_image.disk import SECTOR, Layout
from pileus.guest_image.elf import needed
from pileus.guest_image.modules import module_name, unsigned
from pileus.guest_image.packages import Package, apt_state, parse_uris
from pileus.guest_image.programs import BuildError, run
from pileus.guest_image.ramdisk import archive, directory, link, program
from pileus.guest_image.rootfs import FILES, Libraries

FILES_FOLDER = Path(str(resources.files("pileus.guest_image"))) / "files"


def test_what_apt_prints_becomes_packages() -> None:
    text = f"'http://deb.debian.org/x/libcrypt1_4.4.deb' libcrypt1_1%3a4.4_amd64.deb 89464 SHA256:{'a' * 64}\nnoise\n"
    assert parse_uris(text) == [Package("libcrypt1", "libcrypt1_1%3a4.4_amd64.deb", f"SHA256:{'a' * 64}")]


def test_weaker_digests_are_not_taken() -> None:
    assert parse_uris(f"'http://deb.debian.org/x.deb' x_1_amd64.deb 1 MD5Sum:{'a' * 32}") == []


def test_apt_state_sees_a_changed_index(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("one")
    before = apt_state([tmp_path])
    assert apt_state([tmp_path]) == before
    (tmp_path / "index").write_text("another")
    assert apt_state([tmp_path]) != before


def test_the_key_depends_on_every_package() -> None:
    one = Package("a", "a.deb", "SHA256:1")
    assert inputs_key([one]) == inputs_key([one])
    assert inputs_key([one]) != inputs_key([Package("a", "a.deb", "SHA256:2")])


def test_only_a_whole_image_of_the_same_inputs_is_current(tmp_path: Path) -> None:
    assert not is_current(tmp_path, "key")
    for name in FORMATS:
        (tmp_path / name).write_bytes(b"1234")
    manifest = {"inputs": "key", "files": {name: {"size": 4} for name in FORMATS}}
    (tmp_path / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert is_current(tmp_path, "key")
    assert not is_current(tmp_path, "other key")
    (tmp_path / "initrd").write_bytes(b"12")
    assert not is_current(tmp_path, "key")
    (tmp_path / MANIFEST).write_text("{")
    assert not is_current(tmp_path, "key")


def test_libraries_are_read_from_elf(tmp_path: Path) -> None:
    names = needed(Path(sys.executable).resolve())
    assert "libc.so.6" in names
    assert names[0].startswith("ld-linux")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert needed(tmp_path / "script") == []


def test_a_library_in_no_package_is_named() -> None:
    with pytest.raises(BuildError, match="which no package of the guest holds"):
        Libraries([]).closure([Path(sys.executable).resolve()])


def test_signatures_are_cut_off() -> None:
    trailer = struct.pack(">8xI", 5)
    assert unsigned(b"code" + b"SIGN!" + trailer + b"~Module signature appended~\n") == b"code"
    assert unsigned(b"code") == b"code"
    assert module_name("kernel/fs/nls/nls_iso8859-1.ko") == "nls_iso8859_1"


def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    require("cpio")
    content = archive({"bin": directory(), "bin/a": program(b"text"), "bin/b": link("a"), "bin/empty": program(b"")})
    run(["cpio", "-id", "--quiet", "--no-preserve-owner"], cwd=tmp_path, stdin=content)
    assert (tmp_path / "bin/b").read_text() == "text"
    assert (tmp_path / "bin/b").is_symlink()
    assert (tmp_path / "bin/empty").read_bytes() == b""
    assert len(content) % 4 == 0


@given(kernel=st.integers(1, 10**6), ramdisk=st.integers(1, 10**6), root=st.integers(1, 10**7))
def test_partitions_never_overlap_and_the_root_is_last(kernel: int, ramdisk: int, root: int) -> None:
    layout = Layout(kernel, ramdisk, root)
    record = layout.master_boot_record(b"\x90" * SECTOR)
    assert len(record) == SECTOR
    assert record[-2:] == b"\x55\xaa"
    (root_start, root_length), (boot_start, boot_length) = (
        struct.unpack_from("<II", record, offset) for offset in (454, 470)
    )
    assert boot_start <= layout.ramdisk_start < layout.ramdisk_start + ramdisk <= boot_start + boot_length == root_start
    assert root_length == root
    assert root_start % 2048 == boot_start % 2048 == 0


def in_awk(document: str) -> dict[str, str]:
    busybox = shutil.which("busybox") or "busybox"
    command = [busybox, "awk", "-f", FILES_FOLDER / "json"]
    done = subprocess.run(command, input=document.encode(), capture_output=True, check=True)
    return dict(line.split("\t", 1) for line in done.stdout.decode().splitlines())


def test_the_guest_reads_metadata_as_python_writes_it() -> None:
    require("busybox")
    document = {
        "uuid": "u-1",
        "public_keys": {"a.b": 'ssh-rsa AAA= me "quoted" \\ é€\n', "z": "ecdsa x"},
        "admin_pass": 'p&$"\\/w',
        "files": [{"content_path": "/content/0000", "path": "/etc/x"}],
        "empty": {},
        "list": [],
        "numbers": [1, -2.5e3, True, None],
    }
    wanted = {
        "uuid": "u-1",
        "public_keys.a.b": 'ssh-rsa AAA= me "quoted" \\ é€',
        "public_keys.z": "ecdsa x",
        "admin_pass": 'p&$"\\/w',
        "files.0.content_path": "/content/0000",
        "files.0.path": "/etc/x",
        "numbers.0": "1",
        "numbers.1": "-2500.0",
        "numbers.2": "true",
        "numbers.3": "null",
    }
    assert in_awk(json.dumps(document)) == wanted
    assert in_awk(json.dumps(document, indent=2, ensure_ascii=False)) == wanted


def test_every_file_of_the_guest_is_used_and_every_script_parses() -> None:
    require("busybox")
    names = {path.name for path in FILES_FOLDER.iterdir()}
    assert names == {name for name, _, _ in FILES} | {"initramfs-init"}
    for path in FILES_FOLDER.iterdir():
        if path.read_text().startswith("#!"):
            done = subprocess.run(["busybox", "sh", "-n", path], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
