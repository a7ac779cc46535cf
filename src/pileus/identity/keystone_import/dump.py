"""SQL dumps of a Keystone's database: the rows of its tables.

Understood are the dumps of mysqldump (and mariadb-dump) and of pg_dump, with COPY or with --inserts.
A dump is read as what it is, a sequence of statements with quoted texts, so that nothing in a text is taken for a
statement.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pileus.kernel.errors import BadRequest

Row = Mapping[str, Any]
Tables = dict[str, list[Row]]

_NAME = r"""(?:[`"]?\w+[`"]?\.)?[`"]?(\w+)[`"]?"""
_INSERT = re.compile(rf"(?:INSERT|REPLACE)(?:\s+IGNORE)?\s+INTO\s+{_NAME}\s*(?:\(([^)]*)\))?\s*VALUES\s*", re.I)
_COPY = re.compile(rf"COPY\s+{_NAME}\s*\(([^)]*)\)\s+FROM\s+stdin;[^\n]*\n", re.I)
_CREATE = re.compile(rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*\(", re.I)
_BETWEEN = re.compile(r"(?:\s++|--[^\n]*+(?:\n|$)|/\*.*?\*/;?|\\\w[^\n]*+(?:\n|$))++", re.S)
_MYSQL = re.compile(r"(?:--[^\n]*\n|/\*[^\n]*\n|\s)*?(?:-- (?:MySQL|MariaDB) dump|(?:CREATE|INSERT|DROP) [\w ]+`)")
_LINES = re.compile(r"([^\n]*)\n")
_COLUMN = re.compile(r"""\s*(?:[`"](\w+)[`"]|(\w+))""")
_NO_COLUMN = frozenset({"primary", "unique", "key", "constraint", "foreign", "check", "index", "fulltext"})
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}
_COPY_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


class _Dialect:
    """How texts are quoted: MySQL's have backslashes that mean something, the others' do not."""

    def __init__(self, backslashes: bool) -> None:
        inside = r"(?:[^'\\]++|\\.|'')*+" if backslashes else r"(?:[^']++|'')*+"
        quoted = rf"'{inside}'|\"[^\"]*+\"|`[^`]*+`"
        self.backslashes = backslashes
        self.statement = re.compile(rf"(?:[^;'\"`]++|{quoted})*+;?", re.S)
        self.value = re.compile(
            rf"\s*(?:(?P<word>NULL|TRUE|FALSE)|(?:_\w+\s*|E|B|X)?'(?P<text>{inside})'"
            r"|0x(?P<hex>[0-9A-F]+)|(?P<number>-?\d+(?:\.\d+)?))\s*",
            re.I | re.S,
        )

    def unquoted(self, text: str) -> str:
        text = text.replace("''", "'") if "'" in text else text
        if self.backslashes and "\\" in text:
            return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.S)
        return text


def read_dump(path: Path) -> Tables:
    """All rows of all tables. BadRequest if the file cannot be understood."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    tables: Tables = {}
    for table, row in _rows(text):
        tables.setdefault(table, []).append(row)
    return tables


def _rows(text: str) -> Iterator[tuple[str, Row]]:
    dialect = _Dialect(backslashes=_MYSQL.match(text) is not None)
    columns: dict[str, list[str]] = {}
    place = 0
    while True:
        between = _BETWEEN.match(text, place)
        place = between.end() if between else place
        if place >= len(text):
            return
        if match := _INSERT.match(text, place):
            names = _names(match[2]) if match[2] else columns.get(match[1])
            if names is None:
                raise BadRequest(f"The dump has rows of the table {match[1]} before its columns.")
            place = match.end()
            while True:
                values, place = _tuple(text, place, dialect)
                yield match[1], _row(match[1], names, values)
                if text[place : place + 1] != ",":
                    break
                place += 1
        elif match := _COPY.match(text, place):
            place, names = match.end(), _names(match[2])
            for line in _LINES.finditer(text, place):
                place = line.end()
                if line[0].startswith("\\."):
                    break
                yield match[1], _row(match[1], names, [_copied(part) for part in line[1].split("\t")])
        else:
            if match := _CREATE.match(text, place):
                columns[match[1]] = _declared(text[match.end() : _end(text, place, dialect)])
            place = max(_end(text, place, dialect), place + 1)


def _end(text: str, place: int, dialect: _Dialect) -> int:
    match = dialect.statement.match(text, place)
    return match.end() if match else place


def _row(table: str, names: list[str], values: list[Any]) -> Row:
    if len(names) != len(values):
        raise BadRequest(f"A row of the table {table} has {len(values)} values for {len(names)} columns.")
    return dict(zip(names, values, strict=True))


def _names(text: str) -> list[str]:
    return [name.strip().strip('`"') for name in text.split(",")]


def _declared(text: str) -> list[str]:
    """The columns of CREATE TABLE: what stands at the beginning of each part that is no key or constraint."""
    names, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (character == "," and depth == 0) or depth < 0:
            match = _COLUMN.match(text, start)
            if match and (match[1] or match[2].lower() not in _NO_COLUMN):
                names.append(match[1] or match[2])
            start = place + 1
        if depth < 0:
            break
    return names


def _tuple(text: str, place: int, dialect: _Dialect) -> tuple[list[Any], int]:
    while text[place : place + 1].isspace():
        place += 1
    if text[place : place + 1] != "(":
        raise BadRequest(f"The dump cannot be understood at character {place}: values were expected.")
    values: list[Any] = []
    while True:
        match = dialect.value.match(text, place + 1)
        if match is None:
            raise BadRequest(f"The dump cannot be understood at character {place}: a value was expected.")
        values.append(_value(match, dialect))
        place = match.end()
        closing = text[place : place + 1]
        if closing == ")":
            return values, place + 1
        if closing != ",":
            raise BadRequest(f"The dump cannot be understood at character {place}.")


def _value(match: re.Match[str], dialect: _Dialect) -> Any:
    if match["word"]:
        return {"null": None, "true": True, "false": False}[match["word"].lower()]
    if match["number"]:
        return float(match["number"]) if "." in match["number"] else int(match["number"])
    if match["hex"]:
        return bytes.fromhex(match["hex"]).decode("utf-8", "surrogateescape")
    return dialect.unquoted(match["text"])


def _copied(text: str) -> str | None:
    if text == "\\N":
        return None
    return re.sub(r"\\(.)", lambda found: _COPY_ESCAPES.get(found[1], found[1]), text)
