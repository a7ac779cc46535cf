"""`pileus up`, `down`, `serve`, `conductor` and `agent`."""

import time

from pileus.kernel.config import Loaded
from pileus.settings import Settings
from pileus.supervisor import machine
from pileus.supervisor.machine import Machine
from pileus.supervisor.parts import Parts


def up(loaded: Loaded[Settings], *, detach: bool) -> int:
    """Start the cloud, or say that it runs."""
    began = time.monotonic()
    url = loaded.settings.site.public_url
    here = Machine(loaded.settings)
    if (pid := here.running()) is not None:
        print(f"Pileus is running already: {url} (process {pid}).")
        return 0
    here.require()

    def announce() -> None:
        print(f"Pileus answers at {url} after {time.monotonic() - began:.1f} s.", flush=True)

    if not detach:
        return here.up(announce)
    pid = here.up_detached()
    announce()
    print(f"It runs in the background (process {pid}); its log is {here.log_file}.")
    return 0


def down(loaded: Loaded[Settings], *, purge: bool) -> None:
    """Stop the cloud and say what was removed."""
    for line in Machine(loaded.settings).down(purge=purge):
        print(f"{line[0].upper()}{line[1:]}.")


def serve(loaded: Loaded[Settings]) -> int:
    """The API alone."""
    return machine.run_serve(loaded.settings, Parts())


def conductor(loaded: Loaded[Settings]) -> None:
    """A conductor alone."""
    machine.make_directories(loaded.settings)
    machine.run_conductor(loaded.settings, Parts())


def agent(loaded: Loaded[Settings]) -> None:
    """An agent alone."""
    machine.make_directories(loaded.settings)
    machine.run_agent(loaded.settings, Parts())
