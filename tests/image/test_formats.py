"""Content must be what the image says it is: every format, and what hostile images pretend."""

import gzip
import io
import struct
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from pileus.image.domain import DISK_FORMATS
from pileus.image.settings import ImageSettings
from pileus.kernel.db import Database
from pileus.kernel.image_format import ACCEPTED, ImageNotAsDeclaredError, inspect_file
from tests.image.conftest import Api, make_api
from tests.real_things import require
from tests.tempest import images

QCOW2 = b"QFI\xfb" + struct.pack(">IQIIQ", 3, 0, 0, 16, 1 << 20) + bytes(480)
DESCRIPTOR = b'# Disk DescriptorFile\nversion=1\ncreateType="%s"\nRW 2048 %s "%s"\n'


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """The images that the official suite is given, by name."""
    require("qemu-img", "sfdisk", "genisoimage")
    manifest = images.make(tmp_path_factory.mktemp("made") / "images")
    listed = yaml.safe_load(manifest.read_text())["images"]
    return {image["name"]: (manifest.parent / image["filename"], image) for image in listed}


def test_images_are_taken_if_they_are_what_they_say(api: Api, made: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    wrong = {}
    for name, (path, image) in made.items():
        answer = api.upload(api.create(disk_format=image["format"]), path.read_bytes())
        if answer.status_code != (204 if image["usable"] else 415):
            wrong[name] = answer.text or answer.status
    assert wrong == {}


def test_the_operator_may_leave_the_judgement_to_the_hosts(sqlite: Database, tmp_path: Path) -> None:
    api = make_api(sqlite, tmp_path, ImageSettings(require_image_format_match=False))
    image = api.create(disk_format="qcow2")
    assert api.upload(image, b"anything").status_code == 204
    assert (api.show(image)["status"], api.show(image)["virtual_size"]) == ("active", None)


def test_the_size_of_the_disk_is_told(api: Api, made: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    for name in ("qcow2", "vdi", "vhdx", "ploop", "vmdk-monolithicSparse", "vmdk-streamOptimized-footer", "raw"):
        path, image = made[name]
        image_id = api.create(disk_format=image["format"])
        api.upload(image_id, path.read_bytes())
        assert api.show(image_id)["virtual_size"] == 1 << 20, name


def test_every_disk_format_is_judged() -> None:
    assert ACCEPTED.keys() == set(DISK_FORMATS)


def refused(path: Path, data: bytes, declared: str) -> str:
    """Why an image is not taken."""
    path.write_bytes(data)
    with pytest.raises(ImageNotAsDeclaredError) as caught:
        inspect_file(path, declared)
    return str(caught.value)


def with_partition_table(data: bytes) -> bytes:
    """The same with the signature of a master boot record, as a guest may write it."""
    changed = bytearray(data.ljust(1 << 20, b"\0"))
    changed[446:462] = struct.pack("<B3sB3sII", 0x80, b"\0\2\0", 0x83, b"\0\3\0", 1, 2047)
    changed[510:512] = b"\x55\xaa"
    return bytes(changed)


@pytest.mark.parametrize("declared", ["raw", "gpt", "iso", "ami"])
def test_a_guest_cannot_turn_its_disk_into_another_format(tmp_path: Path, declared: str) -> None:
    path = tmp_path / "image"
    assert "qcow2" in refused(path, QCOW2, declared)
    assert "qcow2" in refused(path, with_partition_table(QCOW2), declared)
    assert "vmdk" in refused(path, DESCRIPTOR % (b"monolithicSparse", b"SPARSE", b"x.vmdk"), declared)
    assert "ploop" in refused(path, b"WithouFreSpacExt".ljust(512, b"\1"), declared)


@pytest.mark.parametrize(
    ("kind", "extent", "file"),
    [
        (b"monolithicFlat", b"FLAT", b"/etc/passwd"),
        (b"twoGbMaxExtentSparse", b"SPARSE", b"../../etc/passwd"),
        (b"vmfs", b"VMFS", b"disk.vmdk"),
        (b"custom", b"FLAT", b"/dev/sda"),
        (b"monolithicSparse", b"SPARSE", b"/etc/passwd"),
        (b"monolithicSparse", b"SPARSE", b"neighbour.vmdk"),
    ],
)
def test_descriptors_that_point_elsewhere_are_refused(tmp_path: Path, kind: bytes, extent: bytes, file: bytes) -> None:
    assert refused(tmp_path / "image", DESCRIPTOR % (kind, extent, file), "vmdk")


@pytest.mark.parametrize("place", ["sparse", "descriptor elsewhere", "text"])
def test_a_vmdk_that_is_based_on_a_file_of_the_host_is_refused(api: Api, tmp_path: Path, place: str) -> None:
    require("qemu-img")
    path = tmp_path / "image.vmdk"
    secret = tmp_path / "secret.vmdk"
    options = "subformat=monolithicFlat" if place == "text" else "subformat=monolithicSparse"
    for each in (path, secret):
        subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", "-o", options, each, "1M"], check=True)
    data = bytearray(path.read_bytes().ljust(65536, b"\0"))
    start = data.find(b"# Disk DescriptorFile")
    honest = bytes(data[start : data.find(b"\0", start)])
    hint = b'parentFileNameHint="' + bytes(secret) + b'"\n'
    evil = honest.replace(b"createType", hint + b"createType")
    data[start : start + len(evil)] = evil
    if place == "descriptor elsewhere":  # where the header says, there is nothing wrong
        data[28:44] = struct.pack("<QQ", len(data) // 512, 20)
        data += honest.ljust(20 * 512, b"\0")
    path.write_bytes(data)
    shown = subprocess.run(["qemu-img", "info", "-f", "vmdk", path], check=True, capture_output=True, text=True)
    assert f"backing file: {secret}" in shown.stdout, "QEMU would read the other file"
    assert refused(path, bytes(data), "vmdk")
    assert api.upload(api.create(disk_format="vmdk"), bytes(data)).status_code == 415


@pytest.mark.parametrize("sectors", [0, 1 << 55, (1 << 64) - 1])
def test_disks_of_impossible_sizes_are_refused(tmp_path: Path, sectors: int) -> None:
    header = struct.pack("<16s5IQ", b"WithouFreSpacExt", 2, 16, 1, 63, 1, sectors & ((1 << 64) - 1))
    reason = refused(tmp_path / "image", header.ljust(4096, b"\0"), "ploop")
    assert "possible size" in reason
    assert "possible size" in refused(tmp_path / "image", b"WithouFreSpacExt", "ploop")


def archive(compress: str = "") -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=f"w:{compress}") as tar:
        info = tarfile.TarInfo("image.ovf")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"ovf"))
    return target.getvalue()


@pytest.mark.parametrize(
    ("container", "data", "status"),
    [
        ("ova", archive(), 204),
        ("ova", archive("gz"), 415),
        ("ova", b"anything", 415),
        ("docker", archive(), 204),
        ("docker", QCOW2, 415),
        ("compressed", gzip.compress(b"anything"), 204),
        ("compressed", archive("xz"), 204),
        ("compressed", b"ab-lh5-something", 204),
        ("compressed", b"anything", 415),
        ("ovf", b"<Envelope/>", 204),
    ],
)
def test_containers_are_what_they_say(api: Api, container: str, data: bytes, status: int) -> None:
    image = api.create(container_format=container)
    assert api.upload(image, data).status_code == status
    assert api.show(image)["status"] == ("active" if status == 204 else "queued")
