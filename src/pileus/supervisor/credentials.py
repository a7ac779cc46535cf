"""The secrets that `pileus up` makes for a new cloud. None is fixed, and none is ever printed or logged."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, repr=False)
class Credentials:
    """The cloud's own secrets, as texts without white space."""

    admin_password: str  # of the first administrator; used once, when the cloud is bootstrapped
    host_secret: str  # by which this machine's agent and the control plane know each other


def directory(state_dir: Path) -> Path:
    """Where the secrets are: one file each, readable by root only."""
    return state_dir / "secrets"


def load_or_create(state_dir: Path) -> Credentials:
    """Read the secrets, making those that are missing."""
    home = directory(state_dir)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Credentials(
        admin_password=_secret(home / "admin_password", 18), host_secret=_secret(home / "host_secret", 32)
    )


def _secret(path: Path, size: int) -> str:
    """The text in `path`; a new random one of `size` bytes if there is no such file.

    A new file gets its name only when it is complete, so that no death leaves half a secret.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        text = secrets.token_urlsafe(size)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(fd)
    draft.replace(path)
    return text
