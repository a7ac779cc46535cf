"""Files that a request brings for a server, and what of a server is written into its disk."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from pileus.agent.api import InjectedFile, Injection, MetadataSpec
from pileus.compute.servers.schemas import Personality
from pileus.kernel.errors import BadRequest, OverLimit
from pileus.kernel.quota import UNLIMITED
from pileus.kernel.seal import Seal

_STATIC = frozenset({"ipv4", "ipv6"})
"""Types of network_data.json whose addresses a guest learns from nobody."""
MAX_NAME = 255
"""Bytes of one name in a path: what Linux's file systems take."""


@dataclass(frozen=True)
class InjectionChoice:
    """What of a server goes into its disk, where that is done at all. The settings `[injection]` are the same."""

    enabled: bool = False
    with_config_drive: bool = False
    key: bool = False
    password: bool = False
    network: Literal["never", "without-dhcp", "always"] = "without-dhcp"
    metadata: bool = False

    def reaches_disk(self, *, config_drive: bool) -> bool:
        """Whether a server with or without a config drive gets anything into its disk."""
        return self.enabled and (self.with_config_drive or not config_drive)


NO_INJECTION = InjectionChoice()
"""Nothing is written into disks: files reach guests by config drives."""


def files_of(personality: Sequence[Personality]) -> tuple[InjectedFile, ...]:
    """The files of a request. A relative path is one from the root. BadRequest if a file cannot be meant."""
    return tuple(InjectedFile(path=_path(one.path), content=_content(one)) for one in personality)


def check_limits(files: Sequence[InjectedFile], limits: Mapping[str, int]) -> None:
    """OverLimit if there are more files, longer paths or longer contents than one request may bring."""
    sizes = {
        "injected_files": len(files),
        "injected_file_path_bytes": max((len(one.path.encode()) for one in files), default=0),
        "injected_file_content_bytes": max((len(one.content) for one in files), default=0),
    }
    for resource, wanted in sizes.items():
        limit = limits[resource]
        if limit != UNLIMITED and wanted > limit:
            raise OverLimit(f"Quota exceeded for {resource}: requested {wanted}, but the limit is {limit}.")


class Secrets(msgspec.Struct, frozen=True):
    """What a request gives a server that only the operation which builds it knows: nothing else keeps it."""

    files: tuple[InjectedFile, ...] = ()
    admin_pass: str | None = None


def injection_for(
    choice: InjectionChoice, metadata: MetadataSpec, secrets: Secrets, *, config_drive: bool
) -> Injection | None:
    """What is written into the disk of a server; None if nothing is."""
    if not choice.reaches_disk(config_drive=config_drive):
        return None
    injection = Injection(
        files=secrets.files,
        public_keys=tuple(metadata.public_keys.values()) if choice.key else (),
        admin_pass=secrets.admin_pass if choice.password else None,
        network_data=metadata.network_data if _network_wanted(choice, metadata.network_data) else None,
        metadata=metadata.metadata if choice.metadata else {},
    )
    return None if injection == Injection() else injection


def to_params(secrets: Secrets, seal: Seal) -> dict[str, Any]:
    """Secrets as a saga keeps them among its parameters: sealed, as these stay in the database for days."""
    return {"secrets": None if secrets == Secrets() else seal.close(msgspec.json.encode(secrets).decode())}


def from_params(params: Mapping[str, Any], seal: Seal) -> Secrets:
    """The secrets among a saga's parameters."""
    sealed = params["secrets"]
    return Secrets() if sealed is None else msgspec.json.decode(seal.open(sealed), type=Secrets)


def _network_wanted(choice: InjectionChoice, network_data: Mapping[str, Any]) -> bool:
    if choice.network == "without-dhcp":
        return any(network["type"] in _STATIC for network in network_data.get("networks", ()))
    return choice.network == "always" and bool(network_data.get("networks"))


def _path(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or text.endswith("/") or ".." in parts or not text.isprintable():
        raise BadRequest(f"Personality path {text!r} is not one of a file.")
    if any(len(part.encode()) > MAX_NAME for part in parts):
        raise BadRequest(f"Personality path {text!r} has a name of more than {MAX_NAME} bytes.")
    return "/" + "/".join(parts)


def _content(one: Personality) -> bytes:
    try:
        return base64.b64decode("".join(one.contents.split()), validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadRequest(f"Contents of the file {one.path} are not valid base64.") from err
