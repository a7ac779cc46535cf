"""What is known of an image, apart from where it is: what a copy shall be like, and how two of them differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pileus.kernel.ids import is_uuid
from pileus.replicator.errors import ReplicationError

MARK = "replicated_from"
"""The custom property by which a copy under another id names its original. It is never compared or copied on."""

ACTIVE, QUEUED, DEACTIVATED = "active", "queued", "deactivated"
RECEIVING = frozenset({"saving", "uploading", "importing"})
"""Statuses in which somebody's data is on its way."""

FIELDS = (
    "name", "disk_format", "container_format", "min_disk", "min_ram", "protected", "visibility", "os_hidden", "owner",
)  # fmt: skip
IMMUTABLE = frozenset({"disk_format", "container_format"})
"""Fields that no service changes once an image has data."""
_DATA = ("size", "checksum", "os_hash_algo", "os_hash_value")
_SERVER_MADE = frozenset(
    {"id", "status", "virtual_size", "created_at", "updated_at", "self", "file", "schema", "direct_url", "locations",
     "stores", "tags", "validation_data", *FIELDS, *_DATA, MARK}
)  # fmt: skip
_ABSENT: Mapping[str, Any] = {"min_disk": 0, "min_ram": 0, "protected": False, "os_hidden": False}
"""What a field means that a service of an older minor version does not show."""


@dataclass(frozen=True)
class Rules:
    """How a copy relates to its original: what is carried over and compared.

    `visibility`: what copies shall have instead of the original's. `ignore`: names of fields and properties.
    """

    keep_owner: bool = False
    members: bool = False
    visibility: str | None = None
    ignore: frozenset[str] = frozenset()

    def compares(self, name: str) -> bool:
        """Whether a field or property is carried over and compared."""
        return name not in self.ignore and (name != "owner" or self.keep_owner)


@dataclass(frozen=True)
class Record:
    """An image as one place describes it. `size` is in bytes; `origin` is the original's id if MARK names one.

    `document` is the description as it was given, server-made fields included.
    """

    id: str
    status: str
    size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    fields: Mapping[str, Any]
    tags: frozenset[str]
    properties: Mapping[str, str]
    origin: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The name to show to people; empty if the image has none."""
        return self.fields["name"] or ""

    @property
    def hashed(self) -> bool:
        """Whether the record says anything of the data but its size."""
        return bool(self.checksum or (self.os_hash_algo and self.os_hash_value))


@dataclass(frozen=True)
class Difference:
    """One thing in which a copy is not like its original. `kind`: field, property, tag, member, data or image."""

    kind: str
    name: str
    here: Any = None
    there: Any = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {_shown(self.here)} here, {_shown(self.there)} there"


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)


def parse(document: Any, place: str) -> Record:
    """The record of an image's JSON document. ReplicationError if it is none.

    Ids become parts of paths and file names, so that only UUIDs pass.
    """
    if not isinstance(document, dict):
        raise ReplicationError(f"{place}: an image's description is not a JSON object.")
    image_id = document.get("id")
    if not isinstance(image_id, str) or len(image_id) != 36 or not is_uuid(image_id):
        raise ReplicationError(f"{place}: an image has the id {image_id!r}, which is not a UUID.")
    size = document.get("size")
    return Record(
        id=image_id,
        status=str(document.get("status")),
        size=size if isinstance(size, int) else None,
        checksum=document.get("checksum") or None,
        os_hash_algo=document.get("os_hash_algo") or None,
        os_hash_value=document.get("os_hash_value") or None,
        fields={name: document.get(name, _ABSENT.get(name)) for name in FIELDS},
        tags=frozenset(document.get("tags") or ()),
        properties={
            name: value
            for name, value in document.items()
            if isinstance(value, str) and name not in _SERVER_MADE and not name.startswith("os_glance_")
        },
        origin=document.get(MARK),
        document=document,
    )


def copy_of(original: Record, rules: Rules) -> Record:
    """What a copy of the original shall be like: the same, except for what the rules say."""
    fields = dict(original.fields)
    if rules.visibility is not None:
        fields["visibility"] = rules.visibility
    properties = {name: value for name, value in original.properties.items() if rules.compares(name)}
    return replace(original, fields=fields, properties=properties)


def same_data(original: Record, other: Record) -> bool:
    """Whether two active images have the same data, as far as their records tell.

    The strongest hash that both have decides. Where the original has none (its data was never read by its service),
    the size is all there is to compare.
    """
    if original.size != other.size:
        return False
    if original.os_hash_value and other.os_hash_value and original.os_hash_algo == other.os_hash_algo:
        return original.os_hash_value == other.os_hash_value
    if original.checksum and other.checksum:
        return original.checksum == other.checksum
    return not original.hashed


def differences(original: Record, other: Record, rules: Rules) -> list[Difference]:
    """In what `other` is not the copy of `original` that the rules want; members are compared elsewhere."""
    want = copy_of(original, rules)
    found = list(_described_otherwise(want, other, rules))
    if other.status != ACTIVE:
        found.append(Difference("field", "status", want.status, other.status))
    elif not same_data(want, other):
        found.append(Difference("data", *_telling(want, other)))
    return found


def _described_otherwise(want: Record, have: Record, rules: Rules) -> Iterator[Difference]:
    for name in FIELDS:
        if rules.compares(name) and want.fields[name] != have.fields[name]:
            yield Difference("field", name, want.fields[name], have.fields[name])
    for name in sorted(want.properties.keys() | have.properties.keys()):
        here, there = want.properties.get(name), have.properties.get(name)
        if rules.compares(name) and here != there:
            yield Difference("property", name, here, there)
    if rules.compares("tags"):
        for tag in sorted(want.tags ^ have.tags):
            yield Difference("tag", tag, *(tag if tag in side.tags else None for side in (want, have)))


def _telling(want: Record, have: Record) -> tuple[str, Any, Any]:
    """The field that shows best that two images have different data."""
    if want.size != have.size:
        return "size", want.size, have.size
    if want.os_hash_value and want.os_hash_algo == have.os_hash_algo:
        return want.os_hash_algo or "", want.os_hash_value, have.os_hash_value
    return "md5", want.checksum, have.checksum


def new_document(want: Record, image_id: str, rules: Rules) -> dict[str, Any]:
    """The body that creates the copy `want` under `image_id`.

    It is not protected yet: what cannot be verified must be deletable.
    """
    document: dict[str, Any] = {"id": image_id, **want.properties, "tags": sorted(want.tags)}
    for name in FIELDS:
        value = want.fields[name]
        if rules.compares(name) and name != "protected" and value is not None and value != _ABSENT.get(name):
            document[name] = value
    if image_id != want.id:
        document[MARK] = want.id
    if not rules.compares("tags"):
        del document["tags"]
    return document


def description(record: Record) -> dict[str, Any]:
    """The whole record as one JSON document, from which `parse` makes it again."""
    server_made = {name: value for name, value in record.document.items() if name in _SERVER_MADE}
    return {**record.properties, **server_made, **record.fields, "tags": sorted(record.tags)}


def patch(want: Record, have: Record, rules: Rules) -> list[dict[str, Any]]:
    """The JSON patch (RFC 6902) that makes `have` described like `want`."""
    operations: list[dict[str, Any]] = []
    for difference in _described_otherwise(want, have, rules):
        if difference.kind == "tag":
            continue
        path = "/" + difference.name.replace("~", "~0").replace("/", "~1")
        if difference.kind == "property" and difference.here is None:
            operations.append({"op": "remove", "path": path})
        else:
            known = difference.kind == "field" or difference.there is not None
            operations.append({"op": "replace" if known else "add", "path": path, "value": difference.here})
    if rules.compares("tags") and want.tags != have.tags:
        operations.append({"op": "replace", "path": "/tags", "value": sorted(want.tags)})
    return operations


def member_differences(want: Mapping[str, str], have: Mapping[str, str]) -> list[Difference]:
    """In what two lists of members (project id: status) differ."""
    return [
        Difference("member", name, want.get(name), have.get(name))
        for name in sorted(want.keys() | have.keys())
        if want.get(name) != have.get(name)
    ]
