"""A guest's file tree, edited from outside: where a path really leads, whatever symbolic links a hostile image has.

Handlers give the six primitives of `FileSystem`, on paths without links; `Tree` follows links itself, in the guest's
terms: an absolute target begins at the guest's root, never at the host's, and none may climb above it.
"""

import posixpath
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

MAX_LINKS = 40
"""As many symbolic links as Linux follows in one path."""
MAX_PATH = 1024
"""Bytes of a path that is asked for."""
MAX_READ = 1 << 20
"""Bytes: no file that is read from a guest before it is changed (its accounts, its keys) is larger."""
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755


class InjectionRefusedError(Exception):
    """Something cannot be written into this guest, on whatever host."""


class Kind(Enum):
    """What is at a path."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    OTHER = "special file"


@dataclass(frozen=True)
class Node:
    """One entry of the tree. `size` in bytes."""

    kind: Kind
    mode: int
    size: int


class FileSystem(Protocol):
    """A mounted or otherwise opened root file system. Paths are absolute and have no link in them.

    What fails raises InjectionRefusedError.
    """

    def look(self, path: str) -> Node | None:
        """What is at a path, not following a link; None if nothing is."""
        ...

    def link_target(self, path: str) -> str:
        """Where a symbolic link points."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Give a file its content. A new one belongs to root and has FILE_MODE; an old one keeps owner and mode."""
        ...

    def make_directory(self, path: str) -> None:
        """Make a directory of root's with DIRECTORY_MODE in one that is there."""
        ...

    def set_mode(self, path: str, mode: int) -> None:
        """Set the permissions of a file or directory."""
        ...


def check_path(path: str) -> str:
    """The canonical form of a path at which a file may be put. InjectionRefusedError if it is none."""
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise InjectionRefusedError(f"{path!r} is not an absolute path of a file")
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts or not parts:
        raise InjectionRefusedError(f"{path!r} does not stay within the disk")
    if any(len(part.encode()) > 255 for part in parts) or len(path.encode()) > MAX_PATH:
        raise InjectionRefusedError(f"{path[:200]!r} is too long, or has a name that is")
    return "/" + "/".join(parts)


class Tree:
    """Reads and writes files by the paths that they have in the guest."""

    def __init__(self, files: FileSystem) -> None:
        self._files = files

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at a path."""
        found, missing = self._resolve(path)
        node = None if missing else self._files.look(found)
        return node is not None and node.kind is Kind.DIRECTORY

    def read(self, path: str) -> bytes | None:
        """The content of a file of at most MAX_READ bytes; None if there is none."""
        found, missing = self._resolve(check_path(path))
        if missing:
            return None
        node = self._node(found)
        if node.kind is not Kind.FILE or node.size > MAX_READ:
            raise InjectionRefusedError(f"{path} is a {node.kind.value} of {node.size} bytes")
        return self._files.read(found)

    def write(self, path: str, content: bytes, mode: int | None = None) -> None:
        """Make or replace a file, with the directories that it needs. `mode` None: FILE_MODE, or the one it had."""
        found, missing = self._resolve(check_path(path))
        for name in missing[:-1]:
            found = posixpath.join(found, name)
            self._files.make_directory(found)
        if missing:
            found = posixpath.join(found, missing[-1])
        elif (kind := self._node(found).kind) is not Kind.FILE:
            raise InjectionRefusedError(f"{path} is a {kind.value}")
        self._files.write(found, content)
        if mode is not None:
            self._files.set_mode(found, mode)

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory if it is not there, and its parents. One that is there keeps its mode."""
        found, missing = self._resolve(check_path(path))
        for name in missing:
            found = posixpath.join(found, name)
            self._files.make_directory(found)
        if missing:
            self._files.set_mode(found, mode)
        elif (kind := self._node(found).kind) is not Kind.DIRECTORY:
            raise InjectionRefusedError(f"{path} is a {kind.value}")

    def _node(self, path: str) -> Node:
        node = self._files.look(path)
        if node is None:
            raise InjectionRefusedError(f"{path} has gone while it was looked at")
        return node

    def _resolve(self, path: str) -> tuple[str, list[str]]:
        """Where a path leads: the part that is there, without links, and the names that are not there yet."""
        todo = deque(part for part in path.split("/") if part and part != ".")
        here: list[str] = []
        links = 0
        while todo:
            name = todo.popleft()
            if name == "..":
                if not here:
                    raise InjectionRefusedError(f"{path} leads out of the disk by a symbolic link")
                here.pop()
                continue
            place = "/" + "/".join([*here, name])
            node = self._files.look(place)
            if node is None:
                if ".." in todo:
                    raise InjectionRefusedError(f"{path} leads through a directory that is not there")
                return "/" + "/".join(here), [name, *todo]
            if node.kind is Kind.LINK:
                links += 1
                if links > MAX_LINKS:
                    raise InjectionRefusedError(f"{path} leads through more than {MAX_LINKS} symbolic links")
                target = self._files.link_target(place)
                if target.startswith("/"):
                    here = []
                todo.extendleft(reversed([part for part in target.split("/") if part and part != "."]))
                continue
            if todo and node.kind is not Kind.DIRECTORY:
                raise InjectionRefusedError(f"{path} leads through a {node.kind.value}")
            here.append(name)
        return "/" + "/".join(here), []
