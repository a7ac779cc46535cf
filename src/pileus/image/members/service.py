"""Sharing images: an image's owner names projects, and each of these accepts or rejects it.

Members see and use the image whatever they say of it; only what they accepted stands in their lists of images. An
image that is no longer shared keeps its members for the day when it is again, and nobody sees it through them.
"""

from pileus.image.domain import Image, Member
from pileus.image.members import store
from pileus.image.settings import ImageSettings
from pileus.kernel.clock import Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict, Forbidden, NotFound, TooLarge


class Members:
    """The members of images. Callers have made sure that the image is one that they may see."""

    def __init__(self, settings: ImageSettings, clock: Clock) -> None:
        self._limit = settings.member_limit
        self._clock = clock

    def all(self, tx: Tx, image: Image) -> list[Member]:
        """Everybody whom an image is shared with. Forbidden if its visibility is another one."""
        _require_shared(image)
        return store.of_image(tx, image.id)

    def get(self, tx: Tx, image: Image, member_id: str) -> Member:
        """One member. Forbidden if the image is not shared, NotFound if not with this one."""
        _require_shared(image)
        member = store.find(tx, image.id, member_id)
        if member is None:
            raise no_member(image, member_id)
        return member

    def add(self, tx: Tx, image: Image, member_id: str) -> Member:
        """Share an image with a project. Forbidden if it is not shared, Conflict if the project is a member already."""
        _require_shared(image)
        if store.find(tx, image.id, member_id) is not None:
            raise Conflict(f"Member {member_id} is duplicated for image {image.id}.")
        if store.count(tx, image.id) >= self._limit:
            raise TooLarge(f"The limit has been exceeded on the number of allowed image members: {self._limit}.")
        now = self._clock.now()
        member = Member(image_id=image.id, member_id=member_id, status="pending", created_at=now, updated_at=now)
        store.insert(tx, member)
        return member

    def set_status(self, tx: Tx, image: Image, member_id: str, status: str) -> Member:
        """Take over what a member says of the image: one of MEMBER_STATUSES. Forbidden, NotFound."""
        _require_shared(image)
        if not store.set_status(tx, image.id, member_id, status, self._clock.now()):
            raise no_member(image, member_id)
        return self.get(tx, image, member_id)

    def remove(self, tx: Tx, image: Image, member_id: str) -> None:
        """Share the image with one project less. Forbidden, NotFound."""
        _require_shared(image)
        if not store.delete(tx, image.id, member_id):
            raise no_member(image, member_id)


def no_member(image: Image, member_id: str) -> NotFound:
    """The error for a project that is no member, or that the caller may not know to be one."""
    return NotFound(f"{member_id} not found in the member list of the image {image.id}.")


def _require_shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
