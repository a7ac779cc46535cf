"""Who needs which base: one empty file for each server and image, in the cache, so that all hosts that share it see it.

A server is entered before its image is asked for, and taken out after its disks are gone; whoever removes bases looks
while he holds the image's lock. So an image is either seen to be needed, or found missing and fetched again. Entries
outlive their host's agent, and its host: only that host itself knows which servers it has, and clears its own.
"""

import contextlib
from pathlib import Path

SEPARATOR = "__"


class Usage:
    """The entries of all hosts, changed in the name of one."""

    def __init__(self, directory: Path, host: str) -> None:
        self._directory = directory / "users"
        self._host = host
        self._directory.mkdir(parents=True, exist_ok=True)

    def enter(self, checksum: str, server_id: str) -> None:
        """Note that a server of this host needs an image."""
        entry = self._entry(checksum, server_id)
        while not entry.exists():
            entry.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the directory was just removed with its last entry
                entry.touch()

    def leave(self, checksum: str, server_id: str) -> None:
        """Note that a server of this host does not need an image any more; it need not have."""
        entry = self._entry(checksum, server_id)
        entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others need it, or just entered
            entry.parent.rmdir()

    def images_of(self, server_id: str) -> set[str]:
        """What a server of this host needs."""
        return {entry.parent.name for entry in self._directory.glob(f"*/{self._host}{SEPARATOR}{server_id}")}

    def servers(self) -> set[str]:
        """The servers of this host that need anything."""
        entries = self._directory.glob(f"*/{self._host}{SEPARATOR}*")
        return {server for host, server in map(_parsed, entries) if host == self._host}

    def users(self, checksum: str) -> tuple[str, ...]:
        """The servers of all hosts that need an image."""
        return tuple(sorted({_parsed(entry)[1] for entry in (self._directory / checksum).glob(f"*{SEPARATOR}*")}))

    def tidy(self) -> None:
        """Remove what the last to leave would have, had he not been killed."""
        for image in self._directory.iterdir():
            with contextlib.suppress(OSError):  # somebody is in it
                image.rmdir()

    def _entry(self, checksum: str, server_id: str) -> Path:
        return self._directory / checksum / f"{self._host}{SEPARATOR}{server_id}"


def _parsed(entry: Path) -> tuple[str, str]:
    host, _, server_id = entry.name.rpartition(SEPARATOR)
    return host, server_id
