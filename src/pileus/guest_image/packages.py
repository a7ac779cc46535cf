"""Debian packages as input: resolved, fetched and verified by apt, unpacked without being installed."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec

from pileus.guest_image.programs import BuildError, run

KERNEL: Final = "linux-image-cloud-amd64"
GUEST_PACKAGES: Final = (
    "busybox",
    "busybox-static",
    "coreutils",
    "dosfstools",
    "dropbear-bin",
    "e2fsprogs",
    "libaudit1",
    "libblkid1",
    "libbsd0",
    "libc6",
    "libcap-ng0",
    "libcom-err2",
    "libcrypt1",
    "libext2fs2",
    "libgmp10",
    "libmd0",
    "libmount1",
    "libpam-modules",
    "libpam0g",
    "libpcre2-8-0",
    "libselinux1",
    "libsmartcols1",
    "libtomcrypt1",
    "libtommath1",
    "libudev1",
    "libuuid1",
    "netcat-openbsd",
    "openssh-sftp-server",
    "sudo",
    "util-linux",
    "zlib1g",
)
BUILD_PACKAGES: Final = ("grub-common", "grub-pc-bin", "libdevmapper1.02.1", "liblzma5")

APT_STATE: Final = (Path("/var/lib/apt/lists"), Path("/etc/apt"))


@dataclass(frozen=True)
class Package:
    """One version of one package, as the signed index describes it."""

    name: str
    file: str
    """Name of the .deb, epoch escaped as apt does."""
    digest: str
    """`SHA256:<hex>`."""


def parse_uris(text: str) -> list[Package]:
    """Read the lines of `apt-get --print-uris download`: 'URI' file size SHA256:hex."""
    found = []
    for line in text.splitlines():
        parts = re.fullmatch(r"'[^']*' (\S+) \d+ (SHA256:[0-9a-f]{64})", line)
        if parts:
            file = parts[1]
            found.append(Package(unquote(file).split("_", 1)[0], file, parts[2]))
    return found


def candidates(names: Sequence[str]) -> list[Package]:
    """What apt would install for these names now. Asks no network."""
    packages = parse_uris(run(["apt-get", "-qq", "--print-uris", "download", *names]))
    missing = set(names) - {package.name for package in packages}
    if missing:
        raise BuildError(f"apt knows no candidate for {', '.join(sorted(missing))}; run apt-get update")
    return packages


def kernel_package() -> str:
    """The package that holds the kernel, which the metapackage depends on by version."""
    shown = run(["apt-cache", "show", "--no-all-versions", KERNEL])
    depends = re.search(r"^Depends: (linux-image-[^ ,]+)", shown, re.MULTILINE)
    if depends is None:
        raise BuildError(f"apt's {KERNEL} depends on no kernel")
    return depends[1]


def apt_state(paths: Iterable[Path] = APT_STATE) -> str:
    """A digest that changes whenever apt's indexes or configuration may have: names, sizes and times of files."""
    digest = hashlib.sha256()
    for root in paths:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.name != "lock":
                status = path.stat()
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def resolve(cache: Path) -> list[Package]:
    """The packages of an image built now, first the kernel's. Asks apt only if its state changed since last time."""
    state = hashlib.sha256(repr((apt_state(), KERNEL, GUEST_PACKAGES, BUILD_PACKAGES)).encode()).hexdigest()
    remembered = cache / "resolved.json"
    if remembered.is_file():
        known = msgspec.json.decode(remembered.read_bytes())
        if known.get("state") == state:
            return [Package(**package) for package in known["packages"]]
    kernel = kernel_package()
    found = sorted(candidates([kernel, *GUEST_PACKAGES, *BUILD_PACKAGES]), key=lambda package: package.name)
    found.sort(key=lambda package: package.name != kernel)
    cache.mkdir(parents=True, exist_ok=True)
    part = remembered.with_suffix(".part")
    part.write_bytes(msgspec.json.encode({"state": state, "packages": [asdict(package) for package in found]}))
    part.replace(remembered)
    return found


class PackageCache:
    """Downloaded and unpacked packages under one directory, each named by its content."""

    def __init__(self, root: Path, progress: Callable[[str], None]) -> None:
        self._debs = root / "debs"
        self._trees = root / "trees"
        self._progress = progress

    def unpacked(self, packages: Sequence[Package]) -> dict[str, Path]:
        """The directory of each package's files, by package name; what is missing is fetched in one apt run."""
        self._trees.mkdir(parents=True, exist_ok=True)
        absent = [package for package in packages if not self._tree(package).is_dir()]
        self._fetch([package for package in absent if not self._is_whole(package)])
        for package in absent:
            self._unpack(package)
        return {package.name: self._tree(package) for package in packages}

    def _tree(self, package: Package) -> Path:
        return self._trees / f"{package.name}-{package.digest.removeprefix('SHA256:')[:16]}"

    def _is_whole(self, package: Package) -> bool:
        deb = self._debs / package.file
        if not deb.is_file():
            return False
        with deb.open("rb") as stream:
            return f"SHA256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == package.digest

    def _fetch(self, packages: Sequence[Package]) -> None:
        if not packages:
            return
        self._debs.mkdir(parents=True, exist_ok=True)
        self._progress(f"fetching {len(packages)} Debian packages")
        names = [package.name for package in packages]
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names], cwd=self._debs)
        for package in packages:
            if not self._is_whole(package):
                raise BuildError(f"apt fetched another {package.name} than its index names; run apt-get update")

    def _unpack(self, package: Package) -> None:
        tree = self._tree(package)
        with tempfile.TemporaryDirectory(dir=self._trees, prefix=".unpack-") as scratch:
            part = Path(scratch) / "tree"
            run(["dpkg-deb", "-x", self._debs / package.file, part])
            if tree.is_dir():
                shutil.rmtree(tree)
            part.rename(tree)
