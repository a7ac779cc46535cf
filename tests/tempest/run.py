"""`make tempest T=REGEX`: starts a fresh cloud, runs the suite's matching tests, prints the totals as its last line."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import openstack

from pileus.guest_image.builder import GuestImage, build
from tests.cloud import Cloud
from tests.tempest import configuration, images
from tests.tempest.configuration import Options, Prepared
from tests.web import serving

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENT = ROOT / ".tempest"
VERSION = "47.0.0"
REGION = "RegionOne"
IMAGE_LIMITS = {
    "image_size_total": 4096, "image_stage_total": 4096, "image_count_total": 100, "image_count_uploading": 100,
}  # fmt: skip
"""So large that no other test meets them."""
SETTINGS: dict[str, object] = {
    "image.stores.local.directory": "local",
    "image.stores.local.weight": 10,
    "image.stores.second.directory": "second",
    "image.stores.second.weight": 5,
    "image.stores.web.kind": "http",
    "image.show_multiple_locations": True,
    "image.fetch.allowed_networks": ["0.0.0.0/0"],  # the suite's own web servers are on whatever addresses we have
    "image.fetch.allowed_ports": [],
    "image.imports.convert_to": "raw",
    **{f"identity.security_compliance.{name}": value for name, value in configuration.SECURITY_COMPLIANCE.items()},
}
ANOTHER_NODE: dict[str, object] = {"image.do_secure_hash": False, "image.require_image_format_match": False}
TOTALS = re.compile(r"^ - (Passed|Failed|Skipped|Unexpected Success): (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Apart:
    """Tests that need another configuration than all others: they are a run of their own."""

    name: str
    pattern: str  # matches just them
    example: str  # one of them
    changes: Callable[[Path], Options]  # in the configuration; given a directory to make files in


def _formats(scratch: Path) -> Options:
    manifest = images.make(scratch / "images")
    return {
        "image": {"images_manifest_file": manifest},
        "image-feature-enabled": {"image_format_enforcement": True},
    }


def _unjudged(scratch: Path) -> Options:
    """Images reach hosts whatever they are, and these must refuse them."""
    return {
        "image": {
            "catalog_type": configuration.ANOTHER_IMAGE_SERVICE,
            "images_manifest_file": images.make(scratch / "honest-images", lies=False),
        },
    }


def _unhashed(_scratch: Path) -> Options:
    return {
        "image": {"catalog_type": configuration.ANOTHER_IMAGE_SERVICE},
        "image-feature-enabled": {"do_secure_hash": False},
    }


_IMAGES = "tempest.api.image.v2"
APART = (
    Apart(
        "formats",
        r"test_images_formats\.ImagesFormatTest\.test_accept",
        f"{_IMAGES}.test_images_formats.ImagesFormatTest.test_accept_usable_formats",
        _formats,
    ),
    Apart(
        "formats-on-hosts",
        r"test_images_formats\.ImagesFormatTest\.test_compute",
        f"{_IMAGES}.test_images_formats.ImagesFormatTest.test_compute_rejects_invalid",
        _unjudged,
    ),
    Apart(
        "unhashed",
        r"test_add_location_with_do_secure_hash_false",
        f"{_IMAGES}.test_images.LocationImportTest.test_add_location_with_do_secure_hash_false",
        _unhashed,
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Run the tests that match the first argument; 0 if at least one ran and none failed."""
    regex = arguments[0] if arguments else "smoke"
    programs = install()
    guest = build(ENVIRONMENT / "image", ENVIRONMENT / "packages", print)
    excluded = [line for line in (HERE / "exclude.txt").read_text().splitlines() if line and not line.startswith("#")]
    with (
        Cloud("qt", SETTINGS) as cloud,
        cloud.another_node(ANOTHER_NODE) as another,
        tempfile.TemporaryDirectory(prefix="pileus-tempest-") as scratch,
        serving() as web,
    ):
        web.files = {"/image.raw": bytes(range(256)) * 4096, "/image.qcow2": guest.disk.read_bytes()}
        prepared = prepare(cloud.connect(), guest, web.url, another)
        suite = Suite(programs, cloud, prepared, Path(scratch))
        output = suite.run("all", regex, left_out=[apart.pattern for apart in APART])
        for apart in APART:
            if re.search(regex, apart.example):
                output += suite.run(apart.name, apart.pattern, changes=apart.changes(Path(scratch)))
    print(f"{len(excluded)} lines in the list of excluded tests, tests/tempest/exclude.txt")
    totals: Counter[str] = Counter()
    for name, count in TOTALS.findall(output):
        totals[name] += int(count)
    passed, failed = totals["Passed"], totals["Failed"] + totals["Unexpected Success"]
    print(f"{passed} passed, {failed} failed, {totals['Skipped']} skipped")
    return 0 if passed and not failed else 1


def install() -> Path:
    """The suite in a virtual environment of its own; its directory of programs."""
    programs = ENVIRONMENT / "venv" / "bin"
    stamp = ENVIRONMENT / f"installed-{VERSION}"
    if not stamp.exists():
        shutil.rmtree(ENVIRONMENT / "venv", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT / "venv"], check=True)
        subprocess.run([programs / "pip", "install", "-q", f"tempest=={VERSION}"], check=True)
        stamp.touch()
    return programs


def prepare(admin: openstack.connection.Connection, guest: GuestImage, web: str, another: str) -> Prepared:
    """Give a fresh cloud what the suite expects: two images, two flavors, limits of images to test, a second image
    service, and the public network that it has.

    `web`: the address of a web server with images; `another`: that of the second node's API.
    """
    image_ids = [
        admin.image.create_image(
            name=name, filename=str(guest.disk), disk_format="qcow2", container_format="bare", visibility="public",
            wait=True,
        ).id
        for name in ("guest", "guest-alt")
    ]  # fmt: skip
    flavors = [
        admin.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=1).id for name, ram in (("m1", 96), ("m2", 112))
    ]
    service = admin.identity.find_service("glance", ignore_missing=False)
    for name, limit in IMAGE_LIMITS.items():
        admin.identity.create_registered_limit(
            service_id=service.id, region_id=REGION, resource_name=name, default_limit=limit
        )
    second = admin.identity.create_service(type=configuration.ANOTHER_IMAGE_SERVICE, name="another glance")
    admin.identity.create_endpoint(service_id=second.id, interface="public", region_id=REGION, url=f"{another}/image")
    endpoint = admin.compute.get_endpoint_data()
    return Prepared(
        image=image_ids[0],
        image_alt=image_ids[1],
        flavor=flavors[0],
        flavor_alt=flavors[1],
        public_network=admin.network.find_network("public", ignore_missing=False).id,
        image_file=guest.disk,
        raw_url=f"{web}/image.raw",
        qcow2_url=f"{web}/image.qcow2",
        ssh_user=guest.user,
        compute_versions=tuple(".".join(map(str, v)) for v in (endpoint.min_microversion, endpoint.max_microversion)),
        network_extensions=tuple(extension.alias for extension in admin.network.extensions()),
    )


@dataclass(frozen=True)
class Suite:
    """The suite, installed, and a cloud that is prepared for it."""

    programs: Path
    cloud: Cloud
    prepared: Prepared
    directory: Path

    def run(self, name: str, regex: str, changes: Options | None = None, left_out: Sequence[str] = ()) -> str:
        """Run tests; the output, which is also shown as it comes.

        `changes` are to the configuration; `left_out` are patterns of tests besides those that are excluded.
        """
        scratch = self.directory / name
        scratch.mkdir()
        workspace = scratch / "workspace"
        environment = {
            **os.environ,
            "HOME": str(scratch),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "OS_TEST_TIMEOUT": "600",
        }
        made = subprocess.run(
            [self.programs / "tempest", "init", workspace], env=environment, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise RuntimeError(made.stdout + made.stderr)
        configuration.write(scratch / "tempest.conf", self.cloud, self.prepared, scratch, changes or {})
        command = [
            str(self.programs / "tempest"), "run", "--config-file", str(scratch / "tempest.conf"), "--regex", regex,
            "--exclude-list", str(_patterns(scratch, left_out)),
            "--concurrency", os.environ.get("TEMPEST_WORKERS", "2"),
        ]  # fmt: skip
        collected: list[str] = []
        with subprocess.Popen(
            command, env=environment, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                collected.append(line)
        keep = os.environ.get("TEMPEST_KEEP")
        if keep:
            shutil.copytree(scratch, Path(keep) / name, dirs_exist_ok=True)
        return "".join(collected)


def _patterns(scratch: Path, further: Sequence[str]) -> Path:
    """The list of excluded tests in the suite's own form: the pattern alone, the reason as a comment."""
    target = scratch / "exclude.txt"
    lines = list(further)
    for line in (HERE / "exclude.txt").read_text().splitlines():
        pattern, _, reason = line.partition(" ")
        lines.append(line if not line or line.startswith("#") else f"{pattern}  # {reason.strip(' #')}")
    target.write_text("\n".join(lines) + "\n")
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
