"""The ways into a disk, by their names in the settings."""

from collections.abc import Mapping

from pileus.agent.injection.handlers.base import Handler, Means
from pileus.agent.injection.handlers.debugfs import DebugfsHandler
from pileus.agent.injection.handlers.guestfs import GuestfsHandler
from pileus.agent.injection.handlers.loop import LoopHandler
from pileus.agent.injection.handlers.nbd import NbdHandler


def handlers(means: Means) -> Mapping[str, Handler]:
    """All handlers by name."""
    found: tuple[Handler, ...] = (LoopHandler(means), NbdHandler(means), GuestfsHandler(means), DebugfsHandler(means))
    return {handler.name: handler for handler in found}
