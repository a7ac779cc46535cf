"""Settings: frozen, typed dataclasses read from one TOML file and the environment.

A section is a frozen dataclass whose fields are made with `setting`; the root is a dataclass of sections, which
may hold sections. Where an operator names things of one kind, a setting is a table of sections: `dict[str, Store]`
is read from `[image.stores.NAME]`, from the file alone. The environment wins over the file: `[database] url` is
`PILEUS_DATABASE_URL`. Nothing wrong is ever ignored: an unknown name or an unfit value is refused with its place and
the name that was probably meant, and all mistakes are reported at once. Every value knows where it came from.
"""

import dataclasses
import difflib
import enum
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")
DEFAULT = "default"
_META = "pileus"
_PREFIX = "PILEUS_"
NOT_SETTINGS = re.compile(r"PILEUS_(CONFIG|REQUIRE_REAL|TEST_.*)")
"""Variables that carry our prefix and are no settings."""


class SettingsError(Exception):
    """The configuration is wrong. `problems` has one line per mistake, each with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Meta:
    """What is declared about a setting besides its type and default."""

    meaning: str
    unit: str | None = None
    secret: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    under: str | None = None


def setting(
    default: T,
    meaning: str,
    *,
    unit: str | None = None,
    secret: bool = False,
    choices: tuple[Any, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    pattern: str | None = None,
    under: str | None = None,
) -> T:
    """Declare one setting of a section.

    `meaning` is shown to operators: what it does and what special values mean. `unit` is what a number counts
    ("seconds", "MiB"). A `secret` is never printed. `minimum` and `maximum` are inclusive; `pattern` must match
    the whole of a text; a relative path is taken `under` a directory that the root names.
    """
    meta = {_META: Meta(meaning, unit, secret, choices, minimum, maximum, pattern, under)}
    if isinstance(default, dict):
        copy = typing.cast(Callable[[], T], default.copy)
        return field(default_factory=copy, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class Entry:
    """One setting with its value, as `pileus config` shows it."""

    section: str  # dotted: "compute.libvirt"
    key: str
    type: str
    default: Any
    value: Any
    source: str  # DEFAULT, "FILE:LINE", "environment NAME" or what it was derived from
    meta: Meta

    @property
    def name(self) -> str:
        """`section.key`."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.name)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """Settings and, for each of them, where its value came from."""

    settings: T
    entries: tuple[Entry, ...]


def with_values(settings: T, values: Mapping[str, Any]) -> T:
    """A copy of a root with some settings (`section.key`) changed, unchecked: for values that follow from others."""
    known = {entry.name: entry.value for entry in entries_of(settings, {})}
    return _build(type(settings), {**known, **values})


def variable_of(name: str) -> str:
    """The environment variable for the setting `section.key`."""
    return _PREFIX + name.replace(".", "_").upper()


def load(root: type[T], path: Path | None, environ: Mapping[str, str]) -> Loaded[T]:
    """Read `path` (None: no file) and `environ` into `root`. SettingsError names every mistake."""
    given, problems = _read_file(path) if path is not None else ([], [])
    declared = {f"{section}.{item.name}": hint for section, item, hint in _declared(root)}
    values: dict[str, tuple[Any, str]] = {}
    _take_file(root, given, declared, values, problems)
    _take_environment(root, environ, declared, values, problems)
    if problems:
        raise SettingsError(problems)
    settings = _build(root, {name: value for name, (value, _) in values.items()})
    return Loaded(settings, tuple(entries_of(settings, {name: source for name, (_, source) in values.items()})))


def entries_of(settings: Any, sources: Mapping[str, str]) -> Iterator[Entry]:
    """All settings of a root in declared order; `sources` gives the origin of those that are not defaults."""
    for section, item, hint in _declared(type(settings)):
        holder = settings
        for part in section.split("."):
            holder = getattr(holder, part)
        name = f"{section}.{item.name}"
        yield Entry(
            section=section,
            key=item.name,
            type=_type_text(hint),
            default=_default(item),
            value=getattr(holder, item.name),
            source=sources.get(name, DEFAULT),
            meta=item.metadata[_META],
        )


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of a class' fields, which cost a good part of a start to find out again and again."""
    return typing.get_type_hints(cls)


def sections_of(root: type) -> Iterator[tuple[str, type]]:
    """The sections of a root as (dotted name, class), in declared order."""
    for name, hint in _hints(root).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield name, hint
            for inner, cls in sections_of(hint):
                yield f"{name}.{inner}", cls


def _declared(root: type) -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    for section, cls in sections_of(root):
        hints = _hints(cls)
        for item in dataclasses.fields(cls):
            if _META in item.metadata:
                yield section, item, hints[item.name]


def _meta_of(root: type, name: str) -> Meta:
    section, _, key = name.rpartition(".")
    cls = dict(sections_of(root))[section]
    found: Meta = next(item.metadata[_META] for item in dataclasses.fields(cls) if item.name == key)
    return found


def _default(item: dataclasses.Field[Any]) -> Any:
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return item.default


def _build(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    arguments: dict[str, Any] = {}
    section: type = cls
    for name, hint in _hints(section).items():
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            arguments[name] = _build(hint, values, f"{prefix}{name}.")
        elif f"{prefix}{name}" in values:
            arguments[name] = values[f"{prefix}{name}"]
    return cls(**arguments)


# --- the file -----------------------------------------------------------------------------------------------

_Path = tuple[str, ...]  # ("database", "url"); a part may itself contain dots if it was quoted
_Given = list[tuple[_Path, Any, str]]  # (path, value as TOML has it, "FILE:LINE"), in the order of the file


def _read_file(path: Path) -> tuple[_Given, list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
        tomllib.loads(text)
    except OSError as err:
        return [], [f"{path}: cannot be read: {err.strerror}"]
    except UnicodeDecodeError as err:
        return [], [f"{path}: is not UTF-8 text: {err}"]
    except tomllib.TOMLDecodeError as err:
        found = re.search(r"\(at line (\d+), column \d+\)", str(err))
        place = f"{path}:{found[1]}" if found else path
        return [], [f"{place}: is not valid TOML: {err}"]
    return [(name, value, f"{path}:{line}") for line, name, value in _statements(text)], []


def _statements(text: str) -> Iterator[tuple[int, _Path, Any]]:
    """The statements of a valid TOML text as (line, path, value); a table's header has the value {}.

    tomllib gives no positions. But each statement of a valid text is valid alone and no true prefix of it is,
    so reading lines until they parse finds where each begins, however many lines it spans.
    """
    table: _Path = ()
    chunk, start = "", 1
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not chunk:
            start = number
        chunk += line
        try:
            statement = tomllib.loads(chunk)
        except tomllib.TOMLDecodeError:
            continue
        if chunk.lstrip().startswith("["):
            table = _header(statement)
            yield start, table, {}
        else:
            for key, value in statement.items():
                yield start, (*table, key), value
        chunk = ""


def _header(statement: Any) -> _Path:
    parts: list[str] = []
    while isinstance(statement, dict) and statement:
        (part, statement), *_ = statement.items()
        parts.append(f"{part}[]" if isinstance(statement, list) else part)
    return tuple(parts)


def _take_file(
    root: type, given: _Given, declared: Mapping[str, Any], values: dict[str, tuple[Any, str]], problems: list[str]
) -> None:
    known = {tuple(name.split(".")): hint for name, hint in declared.items()}
    sections = {tuple(name.split(".")) for name, _ in sections_of(root)}
    refused: set[_Path] = set()
    for path, (raw, place) in _expanded(given, known, sections).items():
        name = ".".join(path)
        if path not in known:
            if path[:-1] not in refused:
                refused.add(path)
                problems.append(f"{place}: {_unknown(path, raw, known, sections)}")
            continue
        try:
            values[name] = (_fit(_meta_of(root, name), _from_toml(known[path], raw)), place)
        except ValueError as err:
            problems.append(f"{place}: {name} {err}")


def _expanded(given: _Given, known: Mapping[_Path, Any], sections: set[_Path]) -> dict[_Path, tuple[Any, str]]:
    """`given` with inline tables and dotted keys taken apart, and the lines of a dictionary put together."""
    result: dict[_Path, tuple[Any, str]] = {}
    waiting = list(given)
    while waiting:
        path, raw, place = waiting.pop(0)
        if path in sections and isinstance(raw, dict):
            waiting[:0] = [((*path, key), value, place) for key, value in raw.items()]
        elif path not in known and (path[:-1] in known or path[:-2] in known):  # a line of [section.dictionary(.name)]
            waiting.insert(0, (path[:-1], {path[-1]: raw}, place))
        elif path in result and isinstance(raw, dict):
            before, where = result[path]
            result[path] = (_merged(before, raw), where)
        else:
            result[path] = (raw, place)
    return result


def _merged(before: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    result = dict(before)
    for key, value in more.items():
        inner = result.get(key)
        result[key] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def _unknown(path: _Path, raw: Any, known: Mapping[_Path, Any], sections: set[_Path]) -> str:
    section, key = (path if isinstance(raw, dict) else path[:-1]), path[-1]
    homes = [".".join(other[:-1]) for other in known if other[-1] == key]
    if not section:
        hint = f": did you mean [{homes[0]}] {key}?" if homes else ""
        return f"'{key}' stands outside any section{hint}"
    if section not in sections:
        wrong = ".".join(section)
        return f"there is no section [{wrong}]{_nearest(wrong, map('.'.join, sections), '[{}]')}"
    meant = _nearest(key, [other[-1] for other in known if other[:-1] == section])
    if not meant and homes:
        meant = f": it belongs in [{homes[0]}]"
    return f"[{'.'.join(section)}] has no setting '{key}'{meant}"


def _nearest(name: str, names: typing.Iterable[str], form: str = "'{}'") -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f": did you mean {form.format(close[0])}?" if close else ""


# --- the environment ----------------------------------------------------------------------------------------


def _take_environment(
    root: type,
    environ: Mapping[str, str],
    declared: Mapping[str, Any],
    values: dict[str, tuple[Any, str]],
    problems: list[str],
) -> None:
    names = {variable_of(name): name for name in declared}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(_PREFIX) or NOT_SETTINGS.fullmatch(variable):
            continue
        name = names.get(variable)
        if name is None:
            problems.append(f"environment: there is no setting {variable}{_nearest(variable, names, '{}')}")
            continue
        try:
            value = _fit(_meta_of(root, name), _from_text(declared[name], text))
        except ValueError as err:
            problems.append(f"environment {variable}: {name} {err}")
        else:
            values[name] = (value, f"environment {variable}")


# --- values -------------------------------------------------------------------------------------------------

_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _from_text(hint: Any, text: str) -> Any:
    """A value from the environment: lists are separated by commas, dictionaries are `key=value,key=value`."""
    inner, optional = _without_none(hint)
    if optional and not text:
        return None
    origin = typing.get_origin(inner)
    if origin is tuple:
        item = typing.get_args(inner)[0]
        return tuple(_from_text(item, part.strip()) for part in text.split(",") if part.strip())
    if _table_of(inner) is not None:
        raise ValueError("can be set in the configuration file alone")
    if origin is dict:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if any(not separator for _, separator, _ in pairs):
            raise ValueError("must be a list like key=value,key=value")
        return {key.strip(): value.strip() for key, _, value in pairs}
    if inner is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(f"must be true or false, not '{text}'")
        return _TRUTH[text.lower()]
    if inner in (int, float):
        try:
            return inner(text)
        except ValueError:
            raise ValueError(f"must be {_type_text(inner)}, not '{text}'") from None
    return _from_toml(inner, text)


def _from_toml(hint: Any, raw: Any) -> Any:
    """A value as TOML gives it, in the type that the section declares. ValueError says what it must be."""
    inner, _ = _without_none(hint)
    origin = typing.get_origin(inner)
    if origin is typing.Literal:
        return _one_of(raw, {value: value for value in typing.get_args(inner)})
    if isinstance(inner, type) and issubclass(inner, enum.Enum):
        return _one_of(raw, {member.value: member for member in inner})
    if origin is tuple and isinstance(raw, list):
        item = typing.get_args(inner)[0]
        return tuple(_from_toml(item, part) for part in raw)
    table = _table_of(inner)
    if table is not None and isinstance(raw, dict) and all(isinstance(value, dict) for value in raw.values()):
        return {name: _section_from_toml(table, name, values) for name, values in raw.items()}
    if origin is dict and isinstance(raw, dict) and all(isinstance(value, str) for value in raw.values()):
        return raw
    accepted = _PLAIN.get(inner)
    if accepted is not None and isinstance(raw, accepted[0]) and (inner is bool or not isinstance(raw, bool)):
        return accepted[1](raw)
    raise ValueError(f"must be {_type_text(inner)}, not {_toml_text(raw)}")


def _table_of(hint: Any) -> type | None:
    """The section class of a table of sections."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict and dataclasses.is_dataclass(arguments[1]):
        return typing.cast(type, arguments[1])
    return None


def _section_from_toml(cls: type, name: str, raw: Mapping[str, Any]) -> Any:
    """One section of a table. ValueError names what is wrong in it."""
    metas = {item.name: item.metadata[_META] for item in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in metas:
            raise ValueError(f"has no setting '{key}' in '{name}'{_nearest(key, metas)}")
        try:
            values[key] = _fit(metas[key], _from_toml(_hints(cls)[key], value))
        except ValueError as err:
            raise ValueError(f"in '{name}': {key} {err}") from err
    return cls(**values)


def _as_path(text: str) -> Path:
    if not text:
        raise ValueError("must be a path, not ''")
    return Path(text)


_PLAIN: dict[Any, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    str: ((str,), str),
    int: ((int,), int),
    float: ((int, float), float),
    bool: ((bool,), bool),
    Path: ((str,), _as_path),
}


def _one_of(raw: Any, members: Mapping[Any, Any]) -> Any:
    if not isinstance(raw, str | int) or raw not in members:
        names = [str(name) for name in members]
        raise ValueError(f"must be one of {', '.join(names)}, not {_toml_text(raw)}{_nearest(str(raw), names)}")
    return members[raw]


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        if len(members) == 1:
            return members[0], True
    return hint, False


def _fit(meta: Meta, value: Any) -> Any:
    for item in value if isinstance(value, tuple) else (value,):
        if meta.choices and item not in meta.choices:
            _one_of(item, {choice: choice for choice in meta.choices})
        if meta.minimum is not None and item is not None and item < meta.minimum:
            raise ValueError(f"must be at least {meta.minimum:g}, not {item:g}")
        if meta.maximum is not None and item is not None and item > meta.maximum:
            raise ValueError(f"must be at most {meta.maximum:g}, not {item:g}")
        if meta.pattern is not None and item is not None and not re.fullmatch(meta.pattern, str(item)):
            raise ValueError(f"must match {meta.pattern}, not '{item}'")
    return value


def _type_text(hint: Any) -> str:
    inner, optional = _without_none(hint)
    origin = typing.get_origin(inner)
    if origin is typing.Literal:
        text = "one of " + ", ".join(str(value) for value in typing.get_args(inner))
    elif isinstance(inner, type) and issubclass(inner, enum.Enum):
        text = "one of " + ", ".join(str(member.value) for member in inner)
    elif origin is tuple:
        text = f"a list of {_type_text(typing.get_args(inner)[0]).partition(' ')[2]}s"
    elif _table_of(inner) is not None:
        text = "a table of sections"
    else:
        text = _TYPE_NAMES.get(origin or inner, str(inner))
    return f"{text} (optional)" if optional else text


_TYPE_NAMES: dict[Any, str] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    Path: "a path",
    dict: "a table of texts",
}


# --- as text ------------------------------------------------------------------------------------------------


def shown(value: Any, meta: Meta) -> str:
    """A value as it may be printed, in TOML's notation: secrets are hidden, None is empty."""
    if meta.secret and value:
        return "(hidden)"
    return _toml_text(value)


def _toml_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, enum.Enum):
        return _toml_text(value.value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_text(key)} = {_toml_text(item)}" for key, item in value.items()) + "}"
    if dataclasses.is_dataclass(value):
        return _toml_text(_told(value))
    if isinstance(value, str | Path):
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)


def _told(section: Any) -> dict[str, Any]:
    """What a section of a table has besides its defaults, secrets hidden."""
    told = {}
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if value != _default(item):
            told[item.name] = "(hidden)" if item.metadata[_META].secret else value
    return told


def defaults_toml(root: type[T]) -> str:
    """A configuration file that changes nothing: every setting, explained and commented out."""
    lines = ["# Every line is optional; what is commented out is the default."]
    current = ""
    defaults = {entry.name: entry for entry in entries_of(root(), {})}
    titles = dict(sections_of(root))
    for entry in defaults.values():
        if entry.section != current:
            current = entry.section
            lines += ["", f"# {title(titles[current])}", f"[{current}]"]
        lines += ["", *(f"# {line}" for line in _wrapped(f"{entry.meta.meaning} ({describe(entry)}).", 100))]
        lines.append(f"#{entry.key} = {_toml_text(entry.default)}" if entry.default is not None else f"# {entry.key} =")
    return "\n".join(lines) + "\n"


def title(section: type) -> str:
    """What a section is about: the first line of its docstring, without its own name."""
    first = (section.__doc__ or "").strip().partition("\n")[0]
    return re.sub(r"^`\[.*?\]`:\s*", "", first)


def describe(entry: Entry) -> str:
    """Type, unit and limits of a setting in a few words."""
    meta = entry.meta
    parts = [entry.type if not meta.choices else "one of " + ", ".join(str(choice) for choice in meta.choices)]
    if meta.unit:
        parts.append(f"in {meta.unit}")
    if meta.minimum is not None:
        parts.append(f"at least {meta.minimum:g}")
    if meta.maximum is not None:
        parts.append(f"at most {meta.maximum:g}")
    return ", ".join(parts)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap  # noqa: PLC0415 - only for writing a file, and not every process does

    return textwrap.wrap(text, width)
