"""Images of all formats, good and bad, with the manifest that the suite's tests of image formats read.

The manifest is that of OpenStack's os-test-images: a list `images` of `name`, `filename`, `format` (with which the
image is created) and `usable` (whether the cloud must take it, or must not).
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml

SIZE = "1M"
_QEMU = (  # name, disk format, qemu-img's format, its options
    ("raw", "raw", "raw", ""),
    ("qcow2", "qcow2", "qcow2", ""),
    ("qcow2-v2", "qcow2", "qcow2", "compat=0.10"),
    ("vdi", "vdi", "vdi", ""),
    ("vhd", "vhd", "vpc", ""),
    ("vhdx", "vhdx", "vhdx", ""),
    ("ploop", "ploop", "parallels", ""),
    ("vmdk-monolithicSparse", "vmdk", "vmdk", "subformat=monolithicSparse"),
    ("vmdk-streamOptimized-footer", "vmdk", "vmdk", "subformat=streamOptimized"),
)


def make(directory: Path, lies: bool = True) -> Path:
    """Write the images and their manifest; the manifest's path.

    Without `lies` all are of the format that they say, so that none is what it would be if it said another.
    """
    directory.mkdir()
    content = directory / "content"
    content.write_bytes(bytes(range(256)) * 4096)
    images = [_made(directory, content, *row) for row in _QEMU]
    images += [_gpt(directory), _iso(directory)]
    images += [_backed(directory), _with_data_file(directory), _flat_vmdk(directory), _reaching_vmdk(directory)]
    if lies:
        images += [_lying(directory, "qcow2", "raw"), _lying(directory, "raw", "qcow2"), _cut_off(directory)]
    manifest = directory / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"images": images}))
    return manifest


def _image(name: str, disk_format: str, usable: bool) -> dict[str, Any]:
    return {"name": name, "filename": f"{name}.img", "format": disk_format, "usable": usable}


def _made(directory: Path, content: Path, name: str, disk_format: str, qemu: str, options: str) -> dict[str, Any]:
    image = _image(name, disk_format, usable=True)
    more = ("-o", options) if options else ()
    _run("qemu-img", "convert", "-f", "raw", "-O", qemu, *more, content, directory / image["filename"])
    return image


def _gpt(directory: Path) -> dict[str, Any]:
    image = _image("gpt", "gpt", usable=True)
    path = directory / image["filename"]
    path.write_bytes(bytes(4 << 20))
    subprocess.run(["sfdisk", "-q", path], input=b"label: gpt\n,\n", check=True, capture_output=True)
    return image


def _iso(directory: Path) -> dict[str, Any]:
    image = _image("iso", "iso", usable=True)
    _run("genisoimage", "-quiet", "-o", directory / image["filename"], directory / "content")
    return image


def _backed(directory: Path) -> dict[str, Any]:
    image = _image("qcow2-backing-file", "qcow2", usable=False)
    _create(directory / image["filename"], "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd")
    return image


def _with_data_file(directory: Path) -> dict[str, Any]:
    image = _image("qcow2-data-file", "qcow2", usable=False)
    _create(directory / image["filename"], "qcow2", "-o", f"data_file={directory}/data")
    return image


def _flat_vmdk(directory: Path) -> dict[str, Any]:
    """A text that says where the disk's bytes are: in another file."""
    image = _image("vmdk-monolithicFlat", "vmdk", usable=False)
    _create(directory / image["filename"], "vmdk", "-o", "subformat=monolithicFlat")
    return image


def _reaching_vmdk(directory: Path) -> dict[str, Any]:
    """Of an allowed type, with an extent that is a file of the host."""
    image = _image("vmdk-extent-of-the-host", "vmdk", usable=False)
    path = directory / image["filename"]
    _create(path, "vmdk", "-o", "subformat=monolithicSparse")
    before = b'RW 2048 SPARSE "' + image["filename"].encode() + b'"'
    after = b'RW 2048 SPARSE "/etc/passwd"'
    data = path.read_bytes()
    if before not in data:
        raise RuntimeError("qemu-img wrote no such extent as this test changes")
    path.write_bytes(data.replace(before, after.ljust(len(before))))
    return image


def _lying(directory: Path, truth: str, claim: str) -> dict[str, Any]:
    image = _image(f"{truth}-that-says-{claim}", claim, usable=False)
    _create(directory / image["filename"], truth)
    return image


def _cut_off(directory: Path) -> dict[str, Any]:
    image = _image("vhdx-cut-off", "vhdx", usable=False)
    (directory / image["filename"]).write_bytes((directory / "vhdx.img").read_bytes()[: 64 << 10])
    return image


def _create(path: Path, qemu: str, *more: object) -> None:
    _run("qemu-img", "create", "-f", qemu, *more, path, SIZE)


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
