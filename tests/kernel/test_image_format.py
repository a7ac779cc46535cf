"""Whatever the bytes are, the verdict is a size or a refusal."""

import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.real_things import require

from pileus.kernel.image_format import ACCEPTED, ImageNotAsDeclaredError, Inspection, inspect_file

MIB = 1 << 20
QEMU = {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi", "qed": "qed", "raw": "raw"}


@cache
def sample(disk_format: str) -> bytes:
    """An image of 4 MiB, without what its tail holds."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "image"
        if disk_format == "iso":
            (Path(directory) / "file").write_text("x")
            command = ["genisoimage", "-quiet", "-o", str(path), str(Path(directory) / "file")]
        else:
            command = ["qemu-img", "create", "-q", "-f", QEMU[disk_format], str(path), "4M"]
        subprocess.run(command, check=True)
        with path.open("rb") as image:
            return image.read(9 * MIB)


def judge(data: bytes, declared: str, piece: int = 65536) -> int | str:
    """The size of the disk, or why it is refused."""
    inspection = Inspection(iter([data[start : start + piece] for start in range(0, len(data), piece)]))
    passed = b"".join(inspection)
    assert passed == data
    try:
        return inspection.verdict(declared, len(data))
    except ImageNotAsDeclaredError as err:
        return str(err)


@pytest.fixture(autouse=True)
def _tools() -> None:
    require("qemu-img", "genisoimage")


@pytest.mark.parametrize("content", [*QEMU, "iso"])
def test_only_what_is_declared_is_accepted(content: str) -> None:
    data = sample(content)
    accepted = {declared for declared in ACCEPTED if isinstance(judge(data, declared), int)}
    if content == "raw":
        assert accepted == {"raw", "ami", "aki", "ari"}
        assert judge(data, "raw") == len(data)
    elif content == "qed":
        assert accepted == set()
    else:
        assert accepted == {content}
        size = judge(data, content)
        assert isinstance(size, int)
        assert size == len(data) if content == "iso" else abs(size - 4 * MIB) < MIB


def test_formats_that_are_unknown_here() -> None:
    for declared in ("", "qed", "luks", "docker", "../raw"):
        assert "cannot be used as disks here" in str(judge(b"x", declared))


@pytest.mark.parametrize(
    ("offset", "value", "says"),
    [
        (8, struct.pack(">Q", 512), "backing"),
        (72, struct.pack(">Q", 4), "data_file"),
        (72, struct.pack(">Q", 1 << 40), "unknown_features"),
        (4, struct.pack(">I", 9), "version"),
        (24, struct.pack(">Q", 0), "no disk"),
        (24, struct.pack(">Q", (1 << 64) - 1), "no disk of a possible size"),
    ],
)
def test_qcow2_headers_that_are_not_safe(offset: int, value: bytes, says: str) -> None:
    data = bytearray(sample("qcow2"))
    data[offset : offset + len(value)] = value
    assert says in str(judge(bytes(data), "qcow2"))


@pytest.mark.parametrize("content", ["vmdk", "vhd", "vhdx", "vdi", "qcow2"])
def test_images_that_are_cut_off(content: str) -> None:
    whole = sample(content)
    for length in (0, 1, 4, 63, 511, 513, 1024, 66_000, 70_000, 200_000):
        if length < len(whole):
            verdict = judge(whole[:length], content)
            assert isinstance(verdict, str) or verdict == judge(whole, content), length


def test_two_formats_in_one_file() -> None:
    both = sample("qcow2")[:32768] + sample("iso")[32768:]
    for declared in ACCEPTED:
        assert "content is iso and qcow2" in str(judge(both, declared))


@given(st.binary(max_size=4096), st.sampled_from(sorted(ACCEPTED)), st.integers(1, 5000))
def test_any_bytes(data: bytes, declared: str, piece: int) -> None:
    assert isinstance(judge(data, declared, piece), int | str)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_any_damage_to_a_real_image(data: st.DataObject) -> None:
    content = data.draw(st.sampled_from(["qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "qed"]))
    image = bytearray(sample(content))
    end = data.draw(st.one_of(st.just(len(image)), st.integers(0, 2048), st.integers(0, len(image))))
    del image[end:]
    for _ in range(data.draw(st.integers(0, 8))):
        where = data.draw(st.one_of(st.integers(0, 512), st.integers(0, 262_144)))
        patch = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 8, bytes(8)])))
        if where + len(patch) <= len(image):
            image[where : where + len(patch)] = patch
    declared = data.draw(st.sampled_from([content, "raw"]))
    verdict = judge(bytes(image), declared)
    assert isinstance(verdict, str) or 0 <= verdict < 1 << 63


def test_files_are_read_no_further_than_needed(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(sample("raw"))
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    assert inspect_file(path, "raw") == 1 << 40
    path.write_bytes(sample("qcow2"))
    assert inspect_file(path, "qcow2") == 4 * MIB
    with pytest.raises(ImageNotAsDeclaredError):
        inspect_file(path, "raw")
