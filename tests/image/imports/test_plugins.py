"""What is done to images on their way: decompression, conversion, injection of properties."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pileus.image.imports.plugins.decompression import decompressed
from pileus.image.imports.settings import ImportSettings
from pileus.kernel import qemu_img
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest, TooLarge
from tests.agent.images import make_image, pattern
from tests.image.imports.conftest import Importer, make_importer
from tests.real_things import require

MIB = 1 << 20
DISK = pattern(3 * MIB) + bytes(MIB)


def zipped(data: bytes, *names: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("disk",):
            archive.writestr(name, data)
    return target.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "two gzips": lambda data: gzip.compress(data[:MIB]) + gzip.compress(data[MIB:]),
    "padded xz": lambda data: lzma.compress(data) + bytes(8),
}


def imported(importer: Importer, data: bytes, token: str | None = None, **fields: str) -> dict[str, str]:
    """The image, after its import has ended."""
    image: str = importer.api.create(**fields)
    assert importer.stage(image, data).status_code == 204
    assert importer.ask(image, token=token).status_code == 202
    importer.run()
    assert importer.staged() == ()
    return importer.api.show(image)


def content(importer: Importer, image: dict[str, str]) -> bytes:
    return importer.api.call("GET", f"/images/{image['id']}/file").content


def message(importer: Importer, image: dict[str, str]) -> str:
    text: str = importer.tasks(image["id"])[0]["message"]
    return text


# --- decompression ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("container", ["bare", "compressed"])
def test_compressed_images_are_unpacked(sqlite: Database, tmp_path: Path, packer: str, container: str) -> None:
    importer = make_importer(sqlite, tmp_path, decompress=True)
    image = imported(importer, PACKERS[packer](DISK), container_format=container)
    assert (image["status"], image["container_format"]) == ("active", "bare")
    assert content(importer, image) == DISK


def test_compressed_images_stay_so_unless_the_operator_wants_them_unpacked(importer: Importer) -> None:
    packed = gzip.compress(DISK)
    image = imported(importer, packed, container_format="compressed")
    assert (image["container_format"], content(importer, image)) == ("compressed", packed)


def test_what_is_inside_is_inspected(sqlite: Database, tmp_path: Path) -> None:
    require("qemu-img")
    importer = make_importer(sqlite, tmp_path, decompress=True)
    good = imported(importer, gzip.compress(make_image(tmp_path, "qcow2", DISK)), disk_format="qcow2")
    assert (good["status"], good["virtual_size"]) == ("active", len(DISK))
    bad = imported(importer, gzip.compress(make_image(tmp_path, "qcow2", DISK)))
    assert bad["status"] == "queued"
    assert "its content is qcow2" in message(importer, bad)


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz", "zip"])
def test_bombs_are_stopped_at_the_limit(sqlite: Database, tmp_path: Path, packer: str) -> None:
    importer = make_importer(sqlite, tmp_path, decompress=True, decompressed_limit=2 * MIB)
    image = imported(importer, PACKERS[packer](bytes(64 * MIB)))
    assert image["status"] == "queued"
    assert "unpacks to more than" in message(importer, image)


def test_unpacking_takes_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    for packer in ("gzip", "bzip2", "xz", "zip"):
        bomb.write_bytes(PACKERS[packer](bytes(64 * MIB)))
        largest = max(len(chunk) for chunk in decompressed(bomb, 128 * MIB))
        assert largest <= MIB, packer
        with pytest.raises(TooLarge):
            list(decompressed(bomb, 63 * MIB))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_that_unpack_to_any_amount_at_once_are_refused(tmp_path: Path, method: int) -> None:
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w", method) as archive:
        archive.writestr("disk", bytes(64 * MIB))
    with pytest.raises(BadRequest, match="which is not unpacked here"):
        list(decompressed(bomb, 128 * MIB))


def test_an_archive_of_millions_of_files_is_not_even_listed(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    with zipfile.ZipFile(bomb, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:060d}", b"")
    with pytest.raises(BadRequest, match="list of files is too long"):
        list(decompressed(bomb, 128 * MIB))


def test_an_archive_of_nothing_is_told_from_one_that_is_never_done(tmp_path: Path) -> None:
    """Thousands of streams that hold nothing take time: whoever unpacks them hears of each, and can stop."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(b"") * 50_000)
    pieces = decompressed(bomb, MIB)
    assert [next(pieces) for _ in range(100)] == [b""] * 100
    assert b"".join(pieces) == b""


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz", "zip"])
@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_damaged_archives_are_refused(tmp_path: Path, packer: str, damage: str) -> None:
    packed = bytearray(PACKERS[packer](DISK))
    if damage == "cut off":
        del packed[len(packed) // 2 :]
    else:
        packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    path = tmp_path / "damaged"
    path.write_bytes(packed)
    with pytest.raises(BadRequest, match="is damaged"):
        list(decompressed(path, 64 * MIB))


def test_an_archive_of_several_files_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "several"
    path.write_bytes(zipped(b"data", "one", "two"))
    with pytest.raises(BadRequest, match="must hold one file"):
        list(decompressed(path, MIB))


# --- conversion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("disk_format", ["qcow2", "vmdk", "vdi", "vhdx", "vhd", "ploop"])
def test_images_are_converted(sqlite: Database, tmp_path: Path, disk_format: str) -> None:
    require("qemu-img")
    importer = make_importer(sqlite, tmp_path, convert_to="raw")
    data = make_image(tmp_path, qemu_img.QEMU_NAMES.get(disk_format, disk_format), DISK)
    image = imported(importer, data, disk_format=disk_format)
    assert (image["status"], image["disk_format"]) == ("active", "raw"), message(importer, image)
    assert content(importer, image)[: len(DISK)] == DISK  # a vhd is rounded up to whole cylinders
    assert image["virtual_size"] == image["size"] == len(content(importer, image))


def test_images_are_converted_to_qcow2(sqlite: Database, tmp_path: Path) -> None:
    require("qemu-img")
    importer = make_importer(sqlite, tmp_path, convert_to="qcow2")
    image = imported(importer, DISK)
    assert (image["disk_format"], image["virtual_size"]) == ("qcow2", len(DISK))
    assert content(importer, image).startswith(b"QFI\xfb")


@pytest.mark.parametrize("fields", [{"disk_format": "ami", "container_format": "ami"}, {"container_format": "ovf"}])
def test_what_is_no_disk_is_not_converted(sqlite: Database, tmp_path: Path, fields: dict[str, str]) -> None:
    importer = make_importer(sqlite, tmp_path, convert_to="qcow2")
    assert content(importer, imported(importer, DISK, **fields)) == DISK


def test_hostile_images_never_reach_qemu_img(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("qemu-img")
    importer = make_importer(sqlite, tmp_path, convert_to="raw")
    hostile = tmp_path / "hostile.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd", hostile, "1M"],
        check=True, capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))  # where no qemu-img is
    image = imported(importer, hostile.read_bytes(), disk_format="qcow2")
    assert image["status"] == "queued"
    assert "backing_file" in message(importer, image)


def test_a_petabyte_in_a_few_kilobytes_is_not_converted(sqlite: Database, tmp_path: Path) -> None:
    require("qemu-img")
    importer = make_importer(sqlite, tmp_path, convert_to="raw")
    huge = tmp_path / "huge.qcow2"
    options = "cluster_size=2M"
    subprocess.run(["qemu-img", "create", "-f", "qcow2", "-o", options, huge, "1P"], check=True, capture_output=True)
    image = imported(importer, huge.read_bytes(), disk_format="qcow2")
    assert image["status"] == "queued"
    assert "more than is allowed" in message(importer, image)


HANGS = "#!/bin/sh\nexec sleep 600\n"
EATS = "#!/usr/bin/python3\nx = bytearray(3 << 30)\n"


@pytest.mark.parametrize(("program", "words"), [(HANGS, "more than 1 s"), (EATS, "cannot be converted")])
def test_a_conversion_that_takes_too_much_is_killed_and_leaves_nothing(
    sqlite: Database, tmp_path: Path, program: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("qemu-img", "prlimit", "setpriv")
    importer = make_importer(sqlite, tmp_path, convert_to="raw", convert_seconds=1, convert_memory=1 << 28)
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text(program)
    fake.chmod(0o755)
    data = make_image(tmp_path, "qcow2", DISK)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    image = imported(importer, data, disk_format="qcow2")
    assert image["status"] == "queued"
    assert words in message(importer, image)
    assert importer.kept() == {"first": (), "second": ()}


def test_a_conversion_is_killed_when_its_image_is_deleted(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("qemu-img", "prlimit", "setpriv")
    pids = tmp_path / "pid"
    fake = tmp_path / "qemu-img"
    fake.write_text(f"#!/bin/sh\necho $$ > {pids}\nexec sleep 600\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def deleted() -> None:
        if pids.exists() and pids.read_text():
            raise BadRequest("deleted")

    with pytest.raises(BadRequest):
        qemu_img.convert(tmp_path / "source", "qcow2", tmp_path / "target", check=deleted)
    assert not Path(f"/proc/{pids.read_text().strip()}").exists()


# --- injection ----------------------------------------------------------------------------------------------


def test_imported_images_are_given_the_operators_properties(sqlite: Database, tmp_path: Path) -> None:
    importer = make_importer(sqlite, tmp_path, inject={"property1": "value1", "os_distro": "ours"})
    mine = imported(importer, DISK, os_distro="mine", other="kept")
    assert (mine["property1"], mine["os_distro"], mine["other"]) == ("value1", "ours", "kept")
    theirs = imported(importer, DISK, token="root@p1:admin")
    assert "property1" not in theirs
    assert ImportSettings().inject == {}
