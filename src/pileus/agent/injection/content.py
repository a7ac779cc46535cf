"""What is written where: each kind of content as edits of a guest's tree.

Where files were asked for and cannot be written, the injection fails; of all else that cannot be written, it is said
and the server is made all the same, as Nova does.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from pileus.agent.api import InjectedFile, Injection
from pileus.agent.injection.interfaces import interfaces
from pileus.agent.injection.tree import InjectionRefusedError, Tree

ADMINISTRATOR = "root"
KEYS = "/root/.ssh/authorized_keys"
SHADOW = "/etc/shadow"
INTERFACES = "/etc/network/interfaces"
METADATA = "/meta.js"
_HASH_SECONDS = 30
_DAY = 86400

Edit = tuple[str, Callable[[Tree], None]]


@dataclass(frozen=True)
class Content:
    """An injection as edits of a tree. `optional` may fail, each by itself; `impossible` has, with its reason."""

    optional: tuple[Edit, ...]
    impossible: tuple[tuple[str, str], ...]
    files: tuple[InjectedFile, ...]


def size_of(injection: Injection) -> int:
    """How many bytes an injection brings."""
    return sum(len(one.content) + len(one.path) for one in injection.files) + sum(map(len, injection.public_keys))


def prepared(injection: Injection) -> Content:
    """All of an injection that needs programs of the host is done here: none runs while a guest's tree is open."""
    edits: list[Edit] = []
    impossible = []
    if injection.public_keys:
        edits.append(("key", lambda tree: _add_keys(tree, injection.public_keys)))
    if injection.admin_pass is not None:
        try:
            edits.append(_password_edit(_hash(injection.admin_pass)))
        except InjectionRefusedError as err:
            impossible.append(("password", str(err)))
    if injection.metadata:
        text = msgspec.json.encode(injection.metadata)
        edits.append(("metadata", lambda tree: tree.write(METADATA, text)))
    if injection.network_data is not None:
        content = interfaces(injection.network_data).encode()
        edits.append(("network", lambda tree: tree.write(INTERFACES, content)))
    return Content(tuple(edits), tuple(impossible), injection.files)


def _password_edit(hashed: str) -> Edit:
    return "password", lambda tree: _set_password(tree, hashed)


def _add_keys(tree: Tree, keys: tuple[str, ...]) -> None:
    tree.make_directory("/root", 0o700)
    tree.make_directory("/root/.ssh", 0o700)
    before = (tree.read(KEYS) or b"").decode(errors="surrogateescape")
    if before and not before.endswith("\n"):
        before += "\n"
    fresh = [key for key in (" ".join(key.split()) for key in keys) if key not in before.splitlines()]
    after = before + "".join(f"{key}\n" for key in fresh)
    tree.write(KEYS, after.encode(errors="surrogateescape"), 0o600)


def _hash(password: str) -> str:
    """A password as crypt(3)'s SHA-512 form, which every guest's C library knows."""
    if "\n" in password or "\0" in password:
        raise InjectionRefusedError("the password has characters that no login takes")
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input=password.encode() + b"\n",
        capture_output=True,
        check=False,
        timeout=_HASH_SECONDS,
    )
    hashed = done.stdout.decode(errors="replace").strip()
    if done.returncode or not hashed.startswith("$6$"):
        raise InjectionRefusedError(f"the password cannot be hashed: {done.stderr.decode(errors='replace').strip()}")
    return hashed


def _set_password(tree: Tree, hashed: str) -> None:
    lines = (tree.read(SHADOW) or b"").decode(errors="surrogateescape").splitlines(keepends=True)
    for position, line in enumerate(lines):
        fields = line.rstrip("\n").split(":")
        if fields[0] == ADMINISTRATOR and len(fields) > 2:
            fields[1], fields[2] = hashed, str(int(time.time()) // _DAY)
            lines[position] = ":".join(fields) + "\n"
            tree.write(SHADOW, "".join(lines).encode(errors="surrogateescape"))
            return
    raise InjectionRefusedError(f"{SHADOW} has no account {ADMINISTRATOR}")
