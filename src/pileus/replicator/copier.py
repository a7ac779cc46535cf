"""Making one image at the target what it is at the source, and comparing the two."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pileus.kernel.ids import new_uuid
from pileus.replicator import records
from pileus.replicator.display import Display
from pileus.replicator.errors import (
    CannotResume,
    Differs,
    Mismatch,
    Refused,
    ReplicationError,
    Unreachable,
    Vanished,
)
from pileus.replicator.outcome import DIFFERS, EXTRA, MISSING, UNCHANGED, VANISHED, Outcome
from pileus.replicator.patience import Patience
from pileus.replicator.places import Source, Target
from pileus.replicator.plan import Action, decide
from pileus.replicator.records import ACTIVE, QUEUED, RECEIVING, Difference, Record, Rules
from pileus.replicator.transfer import Transfer

_DONE = {Action.COPY: "copied", Action.COMPLETE: "completed", Action.REPLACE: "replaced", Action.UPDATE: "updated"}


@dataclass(frozen=True)
class Liberties:
    """What copying may do. `replace`: what stands in the way; `new_ids`: make a copy under another id."""

    replace: bool = False
    new_ids: bool = False
    dry_run: bool = False


class Comparer:
    """Compares images with their counterparts, without changing anything."""

    def __init__(self, source: Source, target: Target, rules: Rules) -> None:
        self._source = source
        self._target = target
        self._rules = rules

    def counterpart(self, original: Record) -> Record | None:
        """The image that stands for the original at the target: the one of its id, unless that has other data and
        there is a copy that names the original.
        """
        same_id = self._target.find(original.id)
        if same_id is not None and (same_id.status != ACTIVE or records.same_data(original, same_id)):
            return same_id
        return self._target.find_marked(original.id) or same_id

    def wanted_members(self, original: Record) -> dict[str, str] | None:
        """With whom the copy shall be shared; None if that is not our business."""
        visibility = records.copy_of(original, self._rules).fields["visibility"]
        if not self._rules.members or visibility != "shared":
            return None
        return dict(self._source.members(original.id)) if original.fields["visibility"] == "shared" else {}

    def differences(self, original: Record, found: Record) -> tuple[Difference, ...]:
        """In what an image is not the copy of the original that is wanted, members included."""
        differences = records.differences(original, found, self._rules)
        members = self.wanted_members(original)
        if members is not None:
            differences += records.member_differences(members, self._target.members(found.id))
        return tuple(differences)

    def compare(self, original: Record) -> Outcome:
        """How the target's image differs."""
        found = self.counterpart(original)
        if found is None:
            return Outcome(original.id, original.name, MISSING, original.size or 0)
        differences = self.differences(original, found)
        return Outcome(
            original.id, original.name, DIFFERS if differences else UNCHANGED, original.size or 0,
            copy_id=_other_id(original, found), differences=differences,
        )  # fmt: skip

    def extra(self, found: Record) -> Outcome | None:
        """What to say of an image at the target: nothing if it has an active original at the source."""
        original = self._source.find(found.origin or found.id)
        if original is not None and original.status == ACTIVE:
            return None
        return Outcome(found.id, found.name, EXTRA, found.size or 0)


class Copier:
    """Copies images; one that is there already is changed as little as will do."""

    def __init__(
        self, source: Source, target: Target, rules: Rules, liberties: Liberties, patience: Patience, display: Display
    ) -> None:
        self._source = source
        self._target = target
        self._rules = rules
        self._liberties = liberties
        self._patience = patience
        self._display = display
        self._comparer = Comparer(source, target, rules)

    def copy(self, original: Record) -> Outcome:
        """Make the target's image the copy of `original`. ReplicationError says why that is not possible.

        Whatever happens, the target does not keep an active image with other data than the original's.
        """
        began = time.monotonic()
        self._patience.check()
        found = self._comparer.counterpart(original)
        if found is not None and found.status in RECEIVING:
            found = self._settled(found.id)
        free = self._liberties
        action = decide(original, found, self._rules, replace=free.replace, new_ids=free.new_ids)
        differences = self._comparer.differences(original, found) if found is not None else ()
        if action is Action.NOTHING and differences:
            action = Action.UPDATE
        outcome = Outcome(original.id, original.name, UNCHANGED, original.size or 0)
        if action is Action.NOTHING:
            return replace(outcome, copy_id=_other_id(original, found))
        if free.dry_run:
            return replace(outcome, result=f"would {action}", differences=differences)
        try:
            copy, sent = self._act(action, original, found)
        except Vanished as err:
            return replace(outcome, result=VANISHED, error=err.message)
        return replace(
            outcome, result=_DONE[action], sent=sent, seconds=time.monotonic() - began,
            copy_id=_other_id(original, copy), differences=self._comparer.differences(original, copy),
        )  # fmt: skip

    def _act(self, action: Action, original: Record, found: Record | None) -> tuple[Record, int]:
        """Do it: the copy as it is afterwards, and how many bytes were sent."""
        want = records.copy_of(original, self._rules)
        sent = 0
        if action is Action.REPLACE and found is not None:
            self._target.delete(found)
        if found is None or action in (Action.COPY, Action.REPLACE):
            copy = self._create(want, may_rename=self._liberties.new_ids or action is Action.REPLACE)
        else:
            copy = self._target.update(want, found, self._rules)
        if action is not Action.UPDATE:
            copy, sent = self._fill(original, copy, is_ours=action is not Action.COMPLETE)
            copy = self._target.update(want, copy, self._rules)
        members = self._comparer.wanted_members(original)
        if members is not None:
            self._target.set_members(copy.id, members)
        return copy, sent

    def _create(self, want: Record, *, may_rename: bool) -> Record:
        """Register the copy under its original's id, or under another one if that is taken."""
        try:
            return self._target.create(want, want.id, self._rules)
        except Refused as err:
            if err.code != 409:
                raise
            found = self._target.find(want.id)
            if found is not None and found.status == QUEUED:  # we made it, and the answer was lost
                return self._target.update(want, found, self._rules)
            if not may_rename:
                raise Differs(
                    f"{self._target.label}: the id is taken, by an image that we may not see or by a deleted one."
                    " --new-ids would make a copy under another id."
                ) from err
        return self._target.create(want, new_uuid(), self._rules)

    def _fill(self, original: Record, copy: Record, *, is_ours: bool) -> tuple[Record, int]:
        """Give a queued image its data: the image, active and verified, and how many bytes were sent."""
        with ExitStack() as undo:
            undo.callback(self._clear, lambda: self._remove_wrong(original, copy.id))
            try:
                transfer = self._send(original, copy)
            except Vanished:
                if is_ours:
                    undo.callback(self._clear, lambda: self._target.delete(copy))
                raise
            after = self._settled(copy.id)
            if after is None:
                raise ReplicationError(f"{self._target.label}: the image was deleted while its data was uploaded.")
            if after.status != ACTIVE:
                raise ReplicationError(f"{self._target.label}: the image is {after.status} although all data was sent.")
            transfer.digests.check(after, self._target.label, required=original.hashed)
            undo.pop_all()
        return after, transfer.digests.size

    def _send(self, original: Record, copy: Record) -> Transfer:
        """Write the data, from the start again if the target's connection breaks: the transfer that succeeded."""
        failures = 0
        while True:
            self._display.restart(original)
            transfer = Transfer(
                self._source, original, self._patience, lambda size: self._display.advance(original.id, size)
            )
            try:
                self._target.write(copy, transfer)
            except (Unreachable, CannotResume) as err:
                if failures >= self._patience.retries:
                    raise
                self._patience.pause(failures, err.retry_after if isinstance(err, Unreachable) else None)
                failures += 1
                now = self._settled(copy.id)
                if now is not None and now.status == ACTIVE:
                    if len(transfer):
                        raise Mismatch(f"{self._target.label}: it took an upload that broke off for a whole.") from err
                    return transfer  # only the answer was lost
            else:
                return transfer

    def _settled(self, image_id: str) -> Record | None:
        """The target's image when nothing is being uploaded to it any more."""
        return self._patience.settle(
            lambda: self._target.find(image_id), lambda seen: seen is None or seen.status not in RECEIVING
        )

    def _remove_wrong(self, original: Record, copy_id: str) -> None:
        """Delete the copy if it has become active with other data than the original's."""
        now = self._settled(copy_id)
        if now is not None and now.status == ACTIVE and not records.same_data(original, now):
            self._target.delete(now)

    def _clear(self, work: Callable[[], None]) -> None:
        """Clear up after an error; that error is what has to be told, even if this fails too."""
        try:
            work()
        except ReplicationError as err:
            self._display.note(f"{self._target.label}: could not clear up: {err.message}")


def _other_id(original: Record, copy: Record | None) -> str | None:
    return copy.id if copy is not None and copy.id != original.id else None
