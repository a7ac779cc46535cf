"""Which images every host is to have without being asked."""

import importlib
from collections.abc import Sequence
from typing import Protocol

from pileus.compute.image_cache import store
from pileus.compute.image_cache.settings import PrecacheSettings
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.config import SettingsError
from pileus.kernel.db import Tx

_DAY = 86400 * MICROSECONDS


class PrecachePolicy(Protocol):
    """Says what is wanted. It only reads, and is asked again and again: what it no longer wants ages in the caches."""

    def wanted(self, tx: Tx, now: int) -> Sequence[str]:
        """Ids of images, the most important first: where a disk has no room for all, these are fetched. `now` in
        microseconds since the epoch."""
        ...


class UsedAndCritical:
    """The default: images of servers that are marked as critical, then those that were used most lately."""

    def __init__(self, settings: PrecacheSettings) -> None:
        self._settings = settings

    def wanted(self, tx: Tx, now: int) -> Sequence[str]:
        """Critical ones come first, and none comes twice."""
        settings = self._settings
        critical: list[str] = []
        used: list[str] = []
        if settings.critical_key and settings.most_critical:
            critical = store.images_of_servers_with(
                tx, settings.critical_key, settings.critical_value, settings.most_critical
            )
        if settings.most_used:
            used = store.most_used(tx, now - settings.most_used_days * _DAY, settings.most_used)
        return list(dict.fromkeys([*critical, *used]))


def policy_of(settings: PrecacheSettings) -> PrecachePolicy:
    """The policy that the settings ask for. SettingsError if there is none of that name."""
    if not settings.policy:
        return UsedAndCritical(settings)
    module, _, name = settings.policy.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as err:
        raise SettingsError([f"precache.policy: {settings.policy!r} is not there: {err}"]) from err
    policy: PrecachePolicy = factory(settings)
    return policy
