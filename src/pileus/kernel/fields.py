"""Requests and responses as tables of fields with version windows.

A response is a `View`: a tuple of `Field`, each with a getter. A request body is a `Body`: a tuple of `Param`, from
which a msgspec struct is built for each version that is asked for, once. Nothing else in Pileus names msgspec's
validation, so that it could be replaced here.
"""

import keyword
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import combinations
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pileus.kernel.errors import BadRequest
from pileus.kernel.versions import Version, Window, window

__all__ = [
    "MALFORMED_JSON", "UNSET", "Body", "Field", "Integer", "Param", "Pattern", "Text", "UnsetType", "View", "given",
    "refuse_nul",
]  # fmt: skip

MALFORMED_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that is not JSON, not UTF-8, nested too deeply, or not of the wanted shape."""


def Text(minimum: int = 0, maximum: int | None = 255, pattern: str | None = None) -> Any:  # noqa: N802 - a type
    """A string of `minimum` to `maximum` characters, matching `pattern` somewhere if one is given."""
    return Annotated[str, Meta(min_length=minimum, max_length=maximum, pattern=pattern)]


def Pattern(pattern: str) -> Any:  # noqa: N802 - a type
    """A string that matches the regular expression."""
    return Annotated[str, Meta(pattern=pattern)]


def Integer(minimum: int | None = None, maximum: int | None = None) -> Any:  # noqa: N802 - a type
    """An integer in a closed range."""
    return Annotated[int, Meta(ge=minimum, le=maximum)]


def given(value: Any, default: Any = None) -> Any:
    """The value, or `default` where the caller did not send the field."""
    return default if value is UNSET else value


# --- responses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """One key of a response. `rule`: the policy rule that a caller must satisfy to see it."""

    name: str
    get: Callable[[Any], Any]
    since: str | None = None
    until: str | None = None
    rule: str | None = None
    window: Window = dataclass_field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", window(self.since, self.until))


class View:
    """A response's fields. Rendering for a version costs one loop over getters chosen once."""

    def __init__(self, *fields: Field) -> None:
        for one, other in combinations(fields, 2):
            if one.name == other.name and one.window.overlaps(other.window):
                raise ValueError(f"two fields {one.name!r} have overlapping version windows")
        self.fields = fields
        self._plans: dict[Version | None, tuple[tuple[Field, ...], tuple[tuple[str, Callable[[Any], Any]], ...]]] = {}

    def __add__(self, other: "View") -> "View":
        return View(*self.fields, *other.fields)

    def render(
        self,
        thing: Any,
        version: Version | None = None,
        *,
        may: Callable[[str], bool] | None = None,
        only: Collection[str] | None = None,
    ) -> dict[str, Any]:
        """The JSON object for `thing`.

        `may` answers whether the caller satisfies a field's policy rule; without it, fields with a rule are left
        out. `only` keeps the named fields (the `fields=` query parameter).
        """
        guarded, plain = self._plan(version)
        if only is not None:
            plain = tuple((name, get) for name, get in plain if name in only)
        rendered = {name: get(thing) for name, get in plain}
        for field in guarded:
            if may is not None and field.rule is not None and may(field.rule) and (only is None or field.name in only):
                rendered[field.name] = field.get(thing)
        return rendered

    def names(self, version: Version | None = None) -> frozenset[str]:
        """The names of all fields in a version."""
        return frozenset(field.name for field in self.fields if field.window.holds(version))

    def _plan(self, version: Version | None) -> tuple[tuple[Field, ...], tuple[tuple[str, Callable[[Any], Any]], ...]]:
        plan = self._plans.get(version)
        if plan is None:
            here = [field for field in self.fields if field.window.holds(version)]
            plan = (
                tuple(field for field in here if field.rule is not None),
                tuple((field.name, field.get) for field in here if field.rule is None),
            )
            self._plans[version] = plan
        return plan


# --- requests -----------------------------------------------------------------------------------------------

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL, which JSON allows and PostgreSQL cannot keep."""

_NOT_IDENTIFIER = re.compile(r"\W")


def refuse_nul(data: bytes) -> None:
    """BadRequest if a JSON text holds U+0000: on every database alike, not only where it cannot be kept."""
    if _NUL.search(data):
        raise BadRequest("The request body must not contain the character U+0000.")


@dataclass(frozen=True)
class Param:
    """One key of a request body.

    `type` is any type that msgspec can decode into, or a tuple of Param for a nested object. A key that was not sent
    reads as UNSET (or as `default`). `attr` is the attribute of the decoded struct; by default the name with
    everything that Python cannot spell replaced: `OS-DCF:diskConfig` reads as `OS_DCF_diskConfig`.
    """

    name: str
    type: Any
    required: bool = False
    nullable: bool = False
    since: str | None = None
    until: str | None = None
    default: Any = UNSET
    attr: str = ""
    window: Window = dataclass_field(init=False)

    def __post_init__(self) -> None:
        attr = self.attr or _NOT_IDENTIFIER.sub("_", self.name)
        if keyword.iskeyword(attr):
            attr += "_"
        object.__setattr__(self, "attr", attr)
        object.__setattr__(self, "window", window(self.since, self.until))


class Body:
    """A request body: `{"wrapper": {params}}`, or the params at the top where `wrapper` is None.

    `shape` is for bodies whose keys are the caller's own: the type that the whole body has, instead of params.

    `extra` says what happens to unknown keys: refused (Nova, Neutron) or ignored (Keystone). `strict=False` also takes
    "2" for 2 and "true" for true, as Nova and Neutron do.
    """

    def __init__(
        self,
        wrapper: str | None,
        *params: Param,
        extra: bool = False,
        strict: bool = False,
        envelope: Iterable[Param] = (),
        shape: Any = None,
    ) -> None:
        self.wrapper = wrapper
        self.shape = shape
        self.params = params
        self.extra = extra
        self.strict = strict
        self.envelope = tuple(envelope)  # keys beside the wrapper, such as os:scheduler_hints
        for one, other in combinations(params, 2):
            if one.name == other.name and one.window.overlaps(other.window):
                raise ValueError(f"two parameters {one.name!r} have overlapping version windows")
        self._decoders: dict[Version | None, msgspec.json.Decoder[Any]] = {}

    def decode(self, data: bytes, version: Version | None = None) -> Any:
        """The body as a struct; with a wrapper, what is inside it (keys beside it under `envelope_<attr>`).

        BadRequest says which field is wrong and why.
        """
        refuse_nul(data)
        decoder = self._decoders.get(version)
        if decoder is None:
            shape = self._struct(version) if self.shape is None else self.shape
            decoder = self._decoders[version] = msgspec.json.Decoder(shape, strict=self.strict)
        try:
            decoded = decoder.decode(data)
        except msgspec.ValidationError as err:
            _refuse(str(err))
        except MALFORMED_JSON as err:
            raise BadRequest("The request body is not valid JSON.") from err
        if self.wrapper is None or self.envelope:
            return decoded
        return decoded.wrapped

    def names(self, version: Version | None = None) -> frozenset[str]:
        """The names of all parameters in a version."""
        return frozenset(param.name for param in self.params if param.window.holds(version))

    def _struct(self, version: Version | None) -> type[msgspec.Struct]:
        inner = _struct("Body", self.params, version, self.extra)
        if self.wrapper is None:
            return inner
        wrapper = Param(self.wrapper, inner, required=True, attr="wrapped")
        return _struct("Envelope", (wrapper, *self.envelope), version, self.extra)


def _struct(name: str, params: Iterable[Param], version: Version | None, extra: bool) -> type[msgspec.Struct]:
    fields: list[Any] = []
    rename: dict[str, str] = {}
    for param in params:
        if not param.window.holds(version):
            continue
        kind = _struct(param.attr, param.type, version, extra) if _is_nested(param.type) else param.type
        if param.nullable:
            kind = kind | None
        rename[param.attr] = param.name
        if param.required:
            fields.append((param.attr, kind))
        elif param.default is UNSET:
            fields.append((param.attr, kind | UnsetType, UNSET))
        else:
            fields.append((param.attr, kind, param.default))
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=not extra, rename=rename)


def _is_nested(kind: Any) -> bool:
    return isinstance(kind, tuple) and all(isinstance(item, Param) for item in kind)


_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>.*)`")


def _refuse(message: str) -> NoReturn:
    found = _AT.match(message)
    what, where = (found["what"], found["where"]) if found else (message, None)
    place = f" in '{where}'" if where else ""
    if unknown := _UNKNOWN.match(what):
        name = unknown["name"]
        raise BadRequest(
            f"Unrecognized attribute(s) '{name}'{place}. "
            f"Additional properties are not allowed ('{name}' was unexpected)."
        )
    if missing := _MISSING.match(what):
        raise BadRequest(f"'{missing['name']}' is a required property{place}.")
    if where:
        raise BadRequest(f"Invalid input for field/attribute {where}. {what}.")
    raise BadRequest(f"Invalid input: {what}.")


def encode(value: Mapping[str, Any] | list[Any]) -> bytes:
    """The JSON text of a response."""
    return msgspec.json.encode(value)
