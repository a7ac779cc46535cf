"""What the agent remembers over its own death: the last description of each thing it was asked for.

One file for each thing, replaced atomically. The files are not synced to the disk: after a loss of power the guests are
gone too, and the control plane sends everything again.
"""

import os
import threading
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from pileus.agent.api import Spec

S = TypeVar("S", bound=Spec)

log = structlog.get_logger("pileus.agent")


class Journal:
    """A directory of descriptions by kind ("metadata", "guest") and id."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, kind: str, key: str, spec: Spec) -> None:
        """Remember a description."""
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.encode(spec))
        fresh.replace(path)

    def remove_partial(self) -> None:
        """Remove what other agents, killed while they wrote, left."""
        for path in self._directory.glob("*/.*.json.*"):
            if path.name.split(".")[-2] != str(os.getpid()):
                path.unlink(missing_ok=True)

    def get(self, kind: str, key: str, shape: type[S]) -> S | None:
        """The last description, or None if there is none (or it cannot be read any more)."""
        try:
            return msgspec.json.decode(self._path(kind, key).read_bytes(), type=shape)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as err:
            log.warning("forgot an unreadable description", kind=kind, key=key, reason=str(err))
            return None

    def forget(self, kind: str, key: str) -> None:
        """Forget a description; there need not be one."""
        self._path(kind, key).unlink(missing_ok=True)

    def keys(self, kind: str) -> tuple[str, ...]:
        """The ids of all descriptions of a kind."""
        directory = self._directory / kind
        if not directory.is_dir():
            return ()
        return tuple(sorted(path.stem for path in directory.glob("*.json") if not path.name.startswith(".")))

    def _path(self, kind: str, key: str) -> Path:
        if not key.replace("-", "").isalnum():
            raise ValueError(f"{key!r} is not an identifier")
        return self._directory / kind / f"{key}.json"
