"""From what the user calls a place to the place: a directory, a cloud, the environment, or an address."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pileus.replicator import logins
from pileus.replicator.connection import connect
from pileus.replicator.directory import Directory
from pileus.replicator.errors import UsageError
from pileus.replicator.logins import Login, Tls
from pileus.replicator.patience import Patience
from pileus.replicator.service import ImageService

DIRECTORY = "dir:"
ENVIRONMENT = "env"


@dataclass(frozen=True)
class Access:
    """How to get at one side, beyond its name. Empty values leave what clouds.yaml or the environment say.

    `timeout`: seconds without a sign of life. `connections`: how many requests are made at a time.
    """

    token: str | None = None
    region: str | None = None
    tls: Tls = field(default_factory=Tls)
    timeout: float = 120.0
    connections: int = 1


def open_place(
    name: str, access: Access, patience: Patience, environ: Mapping[str, str] = os.environ
) -> ImageService | Directory:
    """The place, which answers. UsageError, LoginFailed, and ReplicationError if it does not work."""
    if (path := directory_of(name)) is not None:
        directory = Directory(path)
        directory.check()
        return directory
    service = ImageService(connect(_login(name, access, environ), patience, access.timeout, access.connections))
    service.check()
    return service


def directory_of(name: str) -> Path | None:
    """The directory that is meant, if one is: `dir:PATH`, or anything with a slash that is no URL."""
    if name.startswith(DIRECTORY):
        return Path(name.removeprefix(DIRECTORY)).expanduser()
    return Path(name).expanduser() if "/" in name and not _is_url(name) else None


def _is_url(name: str) -> bool:
    return re.match(r"https?://", name) is not None


def _login(name: str, access: Access, environ: Mapping[str, str]) -> Login:
    if _is_url(name):
        if re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", name) is None:
            raise UsageError(f"{name} is not the address of an image service.")
        login = logins.of_url(name, access.token)
    elif access.token is not None:
        raise UsageError(f"A token goes with the address of an image service, and '{name}' is none.")
    else:
        login = logins.of_environment(environ) if name == ENVIRONMENT else logins.of_cloud(name, environ)
    tls = Tls(
        verify=login.tls.verify if access.tls.verify is True else access.tls.verify,
        cert=access.tls.cert or login.tls.cert,
    )
    return replace(login, region=access.region or login.region, tls=tls)
