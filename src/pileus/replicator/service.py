"""An OpenStack image service as a place."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pileus.replicator import records
from pileus.replicator.connection import Connection
from pileus.replicator.errors import CannotResume, Refused, ReplicationError, UsageError, Vanished
from pileus.replicator.places import Data, Selection
from pileus.replicator.records import ACTIVE, MARK, Record, Rules

CHUNK = 1 << 20
PAGE = 500
PATCH_TYPE = "application/openstack-images-v2.1-json-patch"


class ImageService:
    """Images over the v2 API. Any number of threads may use one."""

    def __init__(self, connection: Connection) -> None:
        self.label = connection.label
        self._connection = connection

    def check(self) -> None:
        """LoginFailed, Refused or Unreachable unless this is an image service that lets us in."""
        self._page({"limit": 1})

    # --- reading --------------------------------------------------------------------------------------------

    def images(self, selection: Selection) -> Iterator[Record]:
        """The images that are meant, each once. UsageError if one that is asked for by id is not there."""
        found: Iterable[Record]
        asked_for = map(self._asked_for, dict.fromkeys(selection.ids))
        found = asked_for if selection.ids else self._listed(selection)
        yield from filter(selection.takes, found)

    def _asked_for(self, image_id: str) -> Record:
        record = self.find(image_id)
        if record is None:
            raise UsageError(f"{self.label}: there is no image {image_id}.")
        return record

    def _listed(self, selection: Selection) -> Iterator[Record]:
        query: dict[str, str | int] = {"status": ACTIVE, "limit": PAGE}
        if selection.owner is not None:
            query["owner"] = selection.owner
        if selection.visibility is not None:
            query["visibility"] = selection.visibility
        if len(selection.tags) == 1:
            query["tag"] = selection.tags[0]
        for hidden in ("false", "true") if selection.hidden else ("false",):
            yield from self._all_pages({**query, "os_hidden": hidden})

    def _all_pages(self, query: Mapping[str, str | int]) -> Iterator[Record]:
        """Every image of a list. A page goes on after the last image that still exists."""
        seen: set[str] = set()
        markers: list[str] = []
        vanished = stale = 0
        while True:
            try:
                page, more = self._page({**query, "marker": markers[-1]} if markers else query)
            except Refused as err:
                if err.code not in (400, 404) or not markers:
                    raise
                markers.pop()
                vanished += 1
                continue
            fresh = [record for record in page if record.id not in seen]
            yield from fresh
            seen.update(record.id for record in fresh)
            markers += [record.id for record in page]
            if not more or not page:
                return
            stale = 0 if fresh else stale + 1
            if stale > vanished:
                raise ReplicationError(f"{self.label}: its list of images goes round in circles.")

    def _page(self, query: Mapping[str, str | int]) -> tuple[list[Record], bool]:
        document = self._connection.call("GET", "/images", query)
        if not isinstance(document, dict) or not isinstance(document.get("images"), list):
            raise ReplicationError(f"{self.label}: this is not an image service of version 2.")
        return [self._record(image) for image in document["images"]], bool(document.get("next"))

    def find(self, image_id: str) -> Record | None:
        """One image, or None if there is none that we may see."""
        try:
            return self._record(self._connection.call("GET", f"/images/{image_id}"))
        except Refused as err:
            if err.code == 404:
                return None
            raise

    def find_marked(self, original_id: str) -> Record | None:
        """The copy of an image that had to be made under another id."""
        for hidden in ("false", "true"):
            page, _ = self._page({MARK: original_id, "os_hidden": hidden, "sort": "created_at:asc"})
            for record in page:
                if record.origin == original_id:
                    return record
        return None

    def members(self, image_id: str) -> Mapping[str, str]:
        """Project ids and what each says of the image; empty if we are not to know."""
        try:
            document = self._connection.call("GET", f"/images/{image_id}/members")
        except Refused as err:
            if err.code in (403, 404):
                return {}
            raise
        return {member["member_id"]: member["status"] for member in document["members"]}

    def read(self, record: Record, start: int) -> Iterator[bytes]:
        """The data from a byte on: one attempt."""
        try:
            with self._connection.download(f"/images/{record.id}/file", start) as answer:
                self._check_start(answer.status, answer.headers.get("Content-Range", ""), start)
                while chunk := answer.read(CHUNK, decode_content=False):
                    yield chunk
        except Refused as err:
            now = self.find(record.id)
            if now is None or now.status != ACTIVE:
                raise Vanished(f"{self.label}: the image is no longer there, or no longer active.") from err
            raise

    def _check_start(self, status: int, content_range: str, start: int) -> None:
        if status == 204:
            raise Refused(f"{self.label}: the image has no data.", status)
        if start and (status != 206 or not content_range.startswith(f"bytes {start}-")):
            raise CannotResume(f"{self.label}: it sends data only from the beginning.")

    # --- writing --------------------------------------------------------------------------------------------

    def create(self, want: Record, image_id: str, rules: Rules) -> Record:
        """Register an image without data. Refused; with code 409 if the id is taken."""
        try:
            return self._record(
                self._connection.call("POST", "/images", json=records.new_document(want, image_id, rules))
            )
        except Refused as err:
            raise self._explained(err, want) from err

    def write(self, record: Record, data: Data) -> None:
        """Upload a queued image's data: one attempt."""
        self._connection.upload(f"/images/{record.id}/file", data)

    def update(self, want: Record, have: Record, rules: Rules) -> Record:
        """Describe `have` like `want`: the result."""
        operations = records.patch(want, have, rules)
        if not operations:
            return have
        try:
            return self._patch(have.id, operations)
        except Refused as err:
            raise self._explained(err, want) from err

    def set_members(self, image_id: str, want: Mapping[str, str]) -> None:
        """Share an image with exactly these projects, and let them say of it what they said of the original."""
        have = dict(self.members(image_id))
        base = f"/images/{image_id}/members"
        for project in have.keys() - want.keys():
            self._connection.call("DELETE", f"{base}/{project}")
        for project in want.keys() - have.keys():
            have[project] = self._connection.call("POST", base, json={"member": project})["status"]
        for project, status in want.items():
            if have[project] != status:
                self._connection.call("PUT", f"{base}/{project}", json={"status": status})

    def delete(self, record: Record) -> None:
        """Delete an image, though it be protected; it may be gone already."""
        try:
            if record.fields["protected"]:
                self._patch(record.id, [{"op": "replace", "path": "/protected", "value": False}])
            self._connection.call("DELETE", f"/images/{record.id}")
        except Refused as err:
            if err.code not in (404, 410):
                raise

    def _patch(self, image_id: str, operations: list[dict[str, Any]]) -> Record:
        document = self._connection.call(
            "PATCH", f"/images/{image_id}", json=operations, headers={"Content-Type": PATCH_TYPE}
        )
        return self._record(document)

    def _record(self, document: Any) -> Record:
        return records.parse(document, self.label)

    def _explained(self, err: Refused, want: Record) -> Refused:
        """A refusal, with what can be done about it where that is known."""
        if err.code == 403 and want.fields["visibility"] in ("public", "community"):
            hint = (
                f"Making images {want.fields['visibility']} may need an administrator; --set-visibility shared helps."
            )
            return Refused(f"{err.message} ({hint})", 403)
        return err
