"""The config drive: a small ISO 9660 disk labelled `config-2` with the metadata of one server.

Source: Nova's user guide, "Config drive": `openstack/<version>/...` and `ec2/<version>/...`.
"""

import subprocess
import tempfile
from pathlib import Path

import msgspec

from pileus.agent.api import MetadataSpec
from pileus.agent.errors import AgentError, NoSpace
from pileus.agent.metadata import OPENSTACK_VERSIONS, content_name, ec2_meta_data, openstack_files

LABEL = "config-2"


def write_config_drive(spec: MetadataSpec, path: Path) -> None:
    """Write the drive to `path`, which appears only when it is complete."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".config") as scratch:
        root = Path(scratch) / "drive"
        for version in ("2015-10-15", OPENSTACK_VERSIONS[-1]):
            _write(root / "openstack" / version, openstack_files(spec, with_files=True))
        if spec.files:
            _write(root / "openstack" / "content", {content_name(i): one.content for i, one in enumerate(spec.files)})
        ec2 = {"meta-data.json": msgspec.json.encode(ec2_meta_data(spec))}
        _write(root / "ec2" / "latest", ec2)
        iso = Path(scratch) / "drive.iso"
        done = subprocess.run(
            ["genisoimage", "-quiet", "-o", str(iso), "-ldots", "-allow-lowercase", "-allow-multidot", "-l",
             "-publisher", "Pileus", "-J", "-r", "-V", LABEL, str(root)],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            text = done.stderr.decode(errors="replace").strip()
            refusal = NoSpace if "No space left" in text else AgentError
            raise refusal(f"the config drive cannot be made: {text}")
        iso.chmod(0o644)
        iso.rename(path)


def _write(directory: Path, files: dict[str, bytes]) -> None:
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
