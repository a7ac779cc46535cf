"""The root of all settings: one line for each section, and the values that follow from others."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pileus.agent.injection.settings import InjectionSettings
from pileus.agent.settings import AgentSettings
from pileus.compute.image_cache.settings import PrecacheSettings
from pileus.compute.settings import ComputeSettings
from pileus.drivers.hypervisor.libvirt.settings import LibvirtSettings
from pileus.drivers.network.linux.settings import LinuxNetworkSettings
from pileus.hosts.settings import HostsSettings
from pileus.identity.settings import IdentitySettings
from pileus.image.settings import ImageSettings
from pileus.kernel import config
from pileus.kernel.config import Loaded
from pileus.kernel.db import DatabaseSettings
from pileus.kernel.log import LogSettings
from pileus.kernel.saga.settings import ConductorSettings
from pileus.kernel.settings import ApiSettings, SiteSettings
from pileus.network.settings import NetworkSettings
from pileus.placement.settings import PlacementSettings
from pileus.scheduler.settings import SchedulerSettings

DEFAULT_FILE = Path("/etc/pileus/pileus.toml")


@dataclass(frozen=True)
class Settings:
    """Everything that an operator can set."""

    site: SiteSettings = field(default_factory=SiteSettings)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    log: LogSettings = field(default_factory=LogSettings)
    api: ApiSettings = field(default_factory=ApiSettings)
    conductor: ConductorSettings = field(default_factory=ConductorSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    precache: PrecacheSettings = field(default_factory=PrecacheSettings)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    scheduler: SchedulerSettings = field(default_factory=SchedulerSettings)
    hosts: HostsSettings = field(default_factory=HostsSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    injection: InjectionSettings = field(default_factory=InjectionSettings)
    libvirt: LibvirtSettings = field(default_factory=LibvirtSettings)
    linux_network: LinuxNetworkSettings = field(default_factory=LinuxNetworkSettings)


def load_settings(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded[Settings]:
    """The settings from `path`, else from $PILEUS_CONFIG, else from /etc/pileus/pileus.toml if it is there.

    What depends on other settings is filled in: nothing that is returned is empty or a relative path.
    SettingsError names every mistake.
    """
    if path is None and environ.get("PILEUS_CONFIG"):
        path = Path(environ["PILEUS_CONFIG"])
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    return complete(config.load(Settings, path, environ))


def complete(loaded: Loaded[Settings]) -> Loaded[Settings]:
    """Fill in what follows from other settings, saying so as its source."""
    derived = dict(_derived(loaded))
    settings = config.with_values(loaded.settings, {name: value for name, (value, _) in derived.items()})
    sources = {entry.name: entry.source for entry in loaded.entries}
    for name, (_, origin) in derived.items():
        if sources[name] == config.DEFAULT:
            sources[name] = f"from {origin}"
    return Loaded(settings, tuple(config.entries_of(settings, sources)))


def _derived(loaded: Loaded[Settings]) -> list[tuple[str, tuple[Any, str]]]:
    settings = loaded.settings
    site, api = settings.site, settings.api
    found: list[tuple[str, tuple[Any, str]]] = []
    if not settings.database.url:
        found.append(("database.url", (f"sqlite:///{site.state_dir.absolute()}/pileus.db", "site.state_dir")))
    if not site.public_url:
        name = f"[{api.host}]" if ":" in api.host else api.host
        name = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(name, name)  # noqa: S104 - compared, not bound
        found.append(("site.public_url", (f"http://{name}:{api.port}", "[api] host and port")))
    if not settings.agent.host:
        found.append(("agent.host", (socket.gethostname(), "the machine's host name")))
    for entry in loaded.entries:
        if not isinstance(entry.value, Path) or entry.value.is_absolute():
            continue
        if entry.section == "site":
            found.append((entry.name, (entry.value.absolute(), "the working directory")))
        else:
            base = entry.meta.under or "state_dir"
            found.append((entry.name, (getattr(site, base).absolute() / entry.value, f"site.{base}")))
    return found
