"""Kernel modules of the guest: the wanted ones with what they depend on, made smaller."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pileus.guest_image.programs import BuildError, run

_SIGNATURE_MARK: Final = b"~Module signature appended~\n"
_SIGNATURE_TRAILER: Final = 12

VIRTIO: Final = ("virtio_pci",)
VIRTIO_BLK: Final = ("virtio_blk",)
VIRTIO_SCSI: Final = ("virtio_scsi", "sd_mod")
VIRTIO_RNG: Final = ("virtio_rng",)
IDE: Final = ("ata_piix", "sd_mod")
BOOT_MODULES: Final = (*VIRTIO, *VIRTIO_BLK, *VIRTIO_SCSI, *VIRTIO_RNG, *IDE)
ROOT_MODULES: Final = (
    *BOOT_MODULES,
    "virtio_net",
    "virtio_balloon",
    "virtio_console",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_utf8",
    "nls_iso8859-1",
    "button",
    "evdev",
    "8021q",
)


def unsigned(module: bytes) -> bytes:
    """A module without its appended signature.

    The kernel enforces no signatures unless booted securely; checking an RSA signature per module is slow on an
    emulated CPU. Layout: payload, signature, 12-byte trailer ending in the signature's length, mark.
    """
    if not module.endswith(_SIGNATURE_MARK):
        return module
    end = len(module) - len(_SIGNATURE_MARK)
    length = int.from_bytes(module[end - 4 : end], "big")
    return module[: end - _SIGNATURE_TRAILER - length]


class ModuleTree:
    """The modules of one unpacked kernel package."""

    def __init__(self, package: Path, scratch: Path) -> None:
        """`scratch` receives a copy of the module index: depmod must not write into the shared cache."""
        versions = sorted((package / "lib/modules").iterdir())
        if len(versions) != 1:
            raise BuildError(f"{package} holds {len(versions)} kernels, not one")
        self.version = versions[0].name
        self._root = versions[0]
        self._dependencies = self._index(scratch)

    def _index(self, scratch: Path) -> dict[str, list[str]]:
        """Path of each module, by name, followed by the paths of those it needs, as depmod lists them."""
        view = scratch / "lib/modules" / self.version
        view.mkdir(parents=True)
        (view / "kernel").symlink_to(self._root / "kernel")
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(self._root / name, view / name)
        run(["depmod", "-b", scratch, self.version])
        found = {}
        for line in (view / "modules.dep").read_text().splitlines():
            path, needs = line.split(":", 1)
            found[module_name(path)] = [path, *needs.split()]
        return found

    def closure(self, names: Iterable[str]) -> list[str]:
        """Paths below the version's directory of these modules and all they need, needed ones first, each once."""
        ordered: dict[str, None] = {}
        for name in names:
            chain = self._dependencies.get(name.replace("-", "_"))
            if chain is None:
                raise BuildError(f"kernel {self.version} has no module {name}")
            ordered.update(dict.fromkeys(reversed(chain)))
        return list(ordered)

    def read(self, path: str) -> bytes:
        """One module's code, unsigned."""
        return unsigned((self._root / path).read_bytes())

    def install(self, root: Path, names: Iterable[str]) -> None:
        """Put modules, and the index that busybox's modprobe reads, under `root`."""
        target = root / "lib/modules" / self.version
        for path in self.closure(names):
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.read(path))
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            shutil.copy(self._root / name, target / name)
        run(["depmod", "-b", root, self.version])
        for index in target.glob("modules.*"):
            if index.name not in ("modules.dep", "modules.alias"):
                index.unlink()


def module_name(path: str) -> str:
    """The name by which the kernel knows a module: dashes of the file's name become underscores."""
    return Path(path).name.removesuffix(".ko").replace("-", "_")
