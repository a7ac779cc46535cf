"""Access rules: the requests that a token may make, where its application credential allows only some.

A rule names a service, a method and a path as the service itself sees it (`/v2.1/servers`, without the cloud's prefix).
In a path, `*` and `{name}` stand for one segment or a part of one, and `**` for anything, also nothing.

Users write the patterns and callers the paths, so matching must not be something that either can make slow: it takes a
step for each character of the path, whatever the pattern. A regular expression would not promise that.
"""

import re
from collections.abc import Collection
from functools import lru_cache

import msgspec

_PART = re.compile(r"(?P<any>\*{2,})|(?P<segment>\*|\{[^{}]*\})|(?P<literal>.)", re.DOTALL)


class AccessRule(msgspec.Struct, frozen=True):
    """One rule."""

    service: str
    method: str
    path: str

    def allows(self, services: Collection[str], method: str, path: str) -> bool:
        """Whether this rule lets through a request to a service that goes by any of the names `services`."""
        return self.method == method and self.service in services and _compiled(self.path).matches(path)


class _Pattern:
    """A path pattern as an automaton whose set of states is the bits of one integer.

    State n: the path read so far matches the first n parts of the pattern.
    """

    def __init__(self, pattern: str) -> None:
        self._literals: dict[str, int] = {}
        self._segments = self._anything = 0
        bit = 1
        for part in _PART.finditer(pattern):
            if part["any"]:
                self._anything |= bit
            elif part["segment"]:
                self._segments |= bit
            else:
                self._literals[part["literal"]] = self._literals.get(part["literal"], 0) | bit
            bit <<= 1
        self._end = bit

    def matches(self, path: str) -> bool:
        """Whether the whole path matches."""
        inside = self._segments << 1  # a segment has begun and may go on
        states = self._open(1)
        for character in path:
            following = (states & self._literals.get(character, 0)) << 1 | states & self._anything
            if character != "/":
                following |= (states & self._segments) << 1 | states & inside
            if not following:
                return False
            states = self._open(following)
        return bool(states & self._end)

    def _open(self, states: int) -> int:
        """With the states behind a `**`, which may stand for nothing; no two of them are neighbours."""
        return states | (states & self._anything) << 1


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> _Pattern:
    return _Pattern(pattern)
