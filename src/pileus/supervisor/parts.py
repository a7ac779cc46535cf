"""The parts of Pileus that the supervisor runs, by name.

The names are resolved when a part is needed: `pileus down` need not import the API, and the supervisor's tests put
small programs in the places of the real ones.
"""

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """`module:attribute` of each part, with the arguments that it is called with."""

    app: str = "pileus.api:make_wsgi_app"  # (settings) -> WSGI application
    conductor: str = "pileus.wiring:make_conductor"  # (settings) -> object with run() and stop()
    agent: str = "pileus.agent.main:run"  # (settings), returns after SIGTERM
    migrate: str = "pileus.migrations:upgrade"  # (database settings)
    bootstrap: str = "pileus.bootstrap:bootstrap"  # (settings, credentials)
    teardown: str = "pileus.agent.teardown:remove_everything"  # (settings)

    def programs(self) -> tuple[str, ...]:
        """What the processes run: worth importing once, before they are forked."""
        return (self.app, self.conductor, self.agent)


def resolve(name: str) -> Any:
    """The object that `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
