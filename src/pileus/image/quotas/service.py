"""Quotas of images.

Usage is counted from the images' own rows, in the transaction of the change, after it: if too much is in use then, the
change is refused and undone. What an upload will take is not known before it ends, unless the client says how long it
is. As in Glance, an upload of unknown length begins as long as the project is not over its limit, and so can bring it
over once; one that says its length must fit.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pileus.identity.limits.domain import UNLIMITED, Bound
from pileus.image.quotas import store
from pileus.image.quotas.domain import COUNT_TOTAL, COUNT_UPLOADING, SIZE_TOTAL, STAGE_TOTAL, UNITS
from pileus.image.settings import ImageSettings
from pileus.kernel import quota
from pileus.kernel.db import Tx
from pileus.kernel.errors import TooLarge

SERVICE = "image"


class Limits(Protocol):
    """What the image service needs of identity's unified limits."""

    def bounds(self, tx: Tx, project_id: str, service_type: str, names: Sequence[str]) -> list[Bound]:
        """The limits of a project, first its own and then those that it keeps together with others."""
        ...


class NoLimits:
    """Of a cloud where nothing is registered."""

    def bounds(self, tx: Tx, project_id: str, service_type: str, names: Sequence[str]) -> list[Bound]:
        """Nothing."""
        return [Bound(project_id, (project_id,), {})]


class ImageQuotas:
    """What projects may have of images. A limit that is not registered does not limit.

    The checks lock the project's quota until the transaction ends, so that of requests at once no two take the last
    place. All raise TooLarge.
    """

    def __init__(self, settings: ImageSettings, limits: Limits) -> None:
        self._on = settings.use_keystone_limits
        self._limits = limits

    def check_create(self, tx: Tx, project_id: str) -> None:
        """To be called when an image was made."""
        self._check(tx, project_id, (COUNT_TOTAL,))

    def check_upload(self, tx: Tx, project_id: str, size: int | None = None) -> None:
        """To be called when an image is saving, before its data comes. `size`: how many bytes, if that is known."""
        self._check(tx, project_id, (COUNT_UPLOADING, SIZE_TOTAL), size or 0)

    def check_stage(self, tx: Tx, project_id: str, size: int | None = None) -> None:
        """To be called when an image is uploading or importing, before its data comes into the staging area."""
        self._check(tx, project_id, (COUNT_UPLOADING, STAGE_TOTAL), size or 0)

    def usage(self, tx: Tx, project_id: str) -> dict[str, dict[str, int]]:
        """`limit` (-1: none) and `usage` by the limits' names; sizes in MiB. Empty where quotas are off."""
        if not self._on:
            return {}
        limits = self._limits.bounds(tx, project_id, SERVICE, tuple(UNITS))[0].limits
        used = store.usage(tx, (project_id,), UNITS)
        return {
            name: {"limit": limits.get(name, UNLIMITED), "usage": used[name] // unit} for name, unit in UNITS.items()
        }

    def _check(self, tx: Tx, project_id: str, names: Sequence[str], size: int = 0) -> None:
        if not self._on:
            return
        for bound in self._limits.bounds(tx, project_id, SERVICE, names):
            limits = {name: limit for name, limit in bound.limits.items() if limit != UNLIMITED}
            if limits:
                quota.lock(tx, bound.holder_id, SERVICE)
                _refuse_over(bound.holder_id, limits, store.usage(tx, bound.project_ids, limits), size)


def _refuse_over(holder_id: str, limits: Mapping[str, int], used: Mapping[str, int], size: int) -> None:
    """TooLarge if more is in use than a limit allows, or would be with `size` more bytes."""
    for name, limit in limits.items():
        unit = UNITS[name]
        more = size if unit > 1 else 0
        if used[name] + more > limit * unit if more else used[name] // unit > limit:
            wanted = f" and {more} bytes more are wanted" if more else ""
            raise TooLarge(
                f"The limit {name} of {holder_id} is {limit}; {used[name] // unit} are in use, this request"
                f" included{wanted}."
            )
