"""What is to be done about one image, decided from the two records alone."""

from enum import StrEnum

from pileus.replicator.errors import Differs
from pileus.replicator.records import ACTIVE, DEACTIVATED, IMMUTABLE, QUEUED, RECEIVING, Record, Rules
from pileus.replicator.records import differences as all_differences
from pileus.replicator.records import same_data as has_same_data


class Action(StrEnum):
    """What is done, or would be done, to the target."""

    COPY = "copy"
    COMPLETE = "complete"
    REPLACE = "replace"
    UPDATE = "update"
    NOTHING = "nothing"


def decide(original: Record, found: Record | None, rules: Rules, *, replace: bool, new_ids: bool) -> Action:
    """How `found`, which stands for the original at the target, becomes its copy.

    Members are no part of this. Differs if only replacing it would do, and neither that nor a new id is allowed.
    """
    if found is None:
        return Action.COPY
    if found.status == QUEUED:
        return Action.COMPLETE
    hindrance = _hindrance(original, found, rules)
    if hindrance is None:
        return Action.UPDATE if all_differences(original, found, rules) else Action.NOTHING
    if replace:
        return Action.REPLACE
    if new_ids and found.id == original.id and not has_same_data(original, found):
        return Action.COPY
    raise Differs(f"{hindrance} Nothing was changed; --replace would replace it.")


def _hindrance(original: Record, found: Record, rules: Rules) -> str | None:
    """Why no change of its description makes `found` the copy; None if that will do."""
    if found.status == DEACTIVATED:
        return "The image is deactivated there."
    if found.status in RECEIVING:
        return "Somebody's upload to the image there has not ended."
    if found.status != ACTIVE:
        return f"The image is {found.status} there."
    if not has_same_data(original, found):
        return "There is an image of this id with other data."
    fixed = [name for name in sorted(IMMUTABLE) if rules.compares(name) and original.fields[name] != found.fields[name]]
    if fixed:
        return f"The image has another {' and '.join(fixed)} there, which cannot be changed."
    return None
