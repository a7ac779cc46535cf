"""ext2, ext3 and ext4 edited in place by debugfs: no mount, no device, no module."""

import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pileus.agent.injection.handlers.base import Disk, Means, root_among
from pileus.agent.injection.handlers.exported import raw_file
from pileus.agent.injection.partitions import Partition, partitions
from pileus.agent.injection.programs import CannotOpenError, confined, text_of
from pileus.agent.injection.tree import (
    DIRECTORY_MODE,
    FILE_MODE,
    FileSystem,
    InjectionRefusedError,
    Kind,
    Node,
)

KNOWN = frozenset({"ext2", "ext3", "ext4"})
MAX_RESOLVED = 2048
"""Bytes of a path with its links followed. debugfs reads lines of 8 KiB, and a quotation mark takes two bytes."""
_ABSENT = "File not found by ext2_lookup"
_FACTS = re.compile(r"^Inode: \d+ +Type: (?P<type>.+?) +Mode: +(?P<mode>[0-7]+)", re.MULTILINE)
_OWNER = re.compile(r"^User: +(?P<user>\d+) +Group: +(?P<group>\d+).* Size: (?P<size>\d+)", re.MULTILINE)
_FAST_LINK = b'\nFast link dest: "'
_ATTRIBUTE = re.compile(r"^ +(?P<name>[a-z]+\.[\w.]+) \(\d+\)", re.MULTILINE)
_KINDS = {"regular": Kind.FILE, "directory": Kind.DIRECTORY, "symlink": Kind.LINK}
_REGULAR, _DIRECTORY = 0o100000, 0o040000


class DebugfsFiles:
    """An ext file system at an offset of a raw file. debugfs says what failed, and its exit status nothing."""

    def __init__(self, raw: Path, offset: int, means: Means) -> None:
        self._device = f"{raw}?offset={offset}"
        self._means = means
        self._content = means.scratch / "content"

    def recover(self) -> None:
        """Replay the journal of a file system that was not unmounted, or it would undo what is written here."""
        if b"needs_recovery" in self._ask("show_super_stats -h"):
            self._do("journal_run")

    def look(self, path: str) -> Node | None:
        shown = self._stat(path)
        if shown is None:
            return None
        facts, owner = _FACTS.search(shown), _OWNER.search(shown)
        if facts is None or owner is None:
            raise InjectionRefusedError(f"{path}: debugfs says nothing of it")
        kind = _KINDS.get(facts["type"], Kind.OTHER)
        return Node(kind, int(facts["mode"], 8) & 0o7777, int(owner["size"]))

    def link_target(self, path: str) -> str:
        shown = self._ask(f"stat {_quoted(path)}")
        _, fast, rest = shown.partition(_FAST_LINK)
        owner = _OWNER.search(shown.decode(errors="replace"))
        if not fast or owner is None:  # a longer target is in a block, like the content of a file
            return self.read(path).decode(errors="surrogateescape")
        # The target may have quotation marks and ends of lines of its own: only its length tells where it ends.
        return rest[: int(owner["size"])].decode(errors="surrogateescape")

    def read(self, path: str) -> bytes:
        return self._ask(f"cat {_quoted(path)}")

    def write(self, path: str, content: bytes) -> None:
        """debugfs makes files only: an old one is replaced by a new one with its owner, mode and attributes."""
        shown = self._stat(path)
        mode, user, group = FILE_MODE, "0", "0"
        commands, attributes = [], []
        if shown is not None:
            facts, owner = _FACTS.search(shown), _OWNER.search(shown)
            if facts is None or owner is None:
                raise InjectionRefusedError(f"{path}: debugfs says nothing of it")
            mode, user, group = int(facts["mode"], 8), owner["user"], owner["group"]
            attributes = self._saved_attributes(path)
            commands.append(f"rm {_quoted(path)}")
        self._content.write_bytes(content)
        directory, name = posixpath.split(path)
        commands += [f"cd {_quoted(directory)}", f"write {self._content} {_quoted(name)}"]
        commands += self._fields(path, _REGULAR | mode, user, group)
        commands += [f"ea_set -f {file} {_quoted(path)} {attribute}" for attribute, file in attributes]
        self._do(*commands)

    def make_directory(self, path: str) -> None:
        directory, name = posixpath.split(path)
        commands = [f"cd {_quoted(directory)}", f"mkdir {_quoted(name)}"]
        self._do(*commands, *self._fields(path, _DIRECTORY | DIRECTORY_MODE, "0", "0"))

    def set_mode(self, path: str, mode: int) -> None:
        node = self.look(path)
        kind = _DIRECTORY if node is not None and node.kind is Kind.DIRECTORY else _REGULAR
        self._do(f"set_inode_field {_quoted(path)} mode 0{kind | mode:o}")

    @staticmethod
    def _fields(path: str, mode: int, user: str, group: str) -> list[str]:
        fields = (("mode", f"0{mode:o}"), ("uid", user), ("gid", group))
        return [f"set_inode_field {_quoted(path)} {name} {value}" for name, value in fields]

    def _saved_attributes(self, path: str) -> list[tuple[str, Path]]:
        """The extended attributes of a file (SELinux labels are such), each with the file that holds its value."""
        listed = self._ask(f"ea_list {_quoted(path)}").decode(errors="replace")
        saved = []
        for position, match in enumerate(_ATTRIBUTE.finditer(listed)):
            file = self._means.scratch / f"attribute{position}"
            self._ask(f"ea_get -f {file} {_quoted(path)} {match['name']}")
            saved.append((match["name"], file))
        return saved

    def _stat(self, path: str) -> str | None:
        try:
            return self._ask(f"stat {_quoted(path)}").decode(errors="replace")
        except InjectionRefusedError as err:
            if _ABSENT in str(err):
                return None
            raise

    def _ask(self, request: str) -> bytes:
        return self._debugfs(["-R", request])

    def _do(self, *commands: str) -> None:
        self._debugfs(["-w", "-f", "-"], "\n".join([*commands, ""]).encode())

    def _debugfs(self, arguments: Sequence[str], data: bytes = b"") -> bytes:
        done = confined(["debugfs", *arguments, self._device], self._means.memory, data)
        said = b"\n".join(line for line in done.stderr.splitlines() if not line.startswith(b"debugfs 1."))
        if done.returncode or said.strip():
            raise InjectionRefusedError(f"debugfs: {text_of(said) or done.returncode}")
        return done.stdout


class DebugfsHandler:
    """Slower, and for ext file systems only; it asks nothing of the host's kernel."""

    name = "debugfs"

    def __init__(self, means: Means) -> None:
        self._means = means

    def unfit(self, disk: Disk) -> str | None:
        if not re.fullmatch(r"[\w./,=+-]+", str(disk.path)):
            return f"debugfs does not take the path {disk.path}"
        return None

    @contextmanager
    def opened(self, disk: Disk) -> Iterator[FileSystem]:
        means = self._means
        with raw_file(disk, means.scratch) as raw:
            found = [one for one in partitions(raw, means.partition, means.memory) if one.filesystem in KNOWN]
            if not found:
                raise CannotOpenError("no partition has an ext file system", of_image=True)
            with root_among(found, lambda one: self._edited(raw, one)) as files:
                yield files

    @contextmanager
    def _edited(self, raw: Path, partition: Partition) -> Iterator[FileSystem]:
        files = DebugfsFiles(raw, partition.offset, self._means)
        try:
            files.recover()
        except InjectionRefusedError as err:
            raise CannotOpenError(str(err), of_image=True) from err
        yield files


def _quoted(path: str) -> str:
    """A word of debugfs's command language, in which a line is a command, and some commands write files of the host.
    Paths come from guests too, by their links: so nothing that may end or break a line is let through."""
    if not path.isprintable() or len(path.encode()) > MAX_RESOLVED:
        raise InjectionRefusedError(f"debugfs does not take the path {path[:200]!r}")
    doubled = path.replace('"', '""')
    return f'"{doubled}"'
