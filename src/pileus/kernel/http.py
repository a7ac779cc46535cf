"""What a service is made of on the HTTP side: a table of routes, and the call that a handler receives.

A handler is a dozen lines: it takes a `Call` and its service, and answers a `Reply` (or a dict for the route's status).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import parse_qsl

import structlog

from pileus.kernel.auth import Actor
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, PileusError
from pileus.kernel.fields import Body
from pileus.kernel.policy import Policy, Target
from pileus.kernel.versions import Microversions, Version, Window, window

S = TypeVar("S")
T = TypeVar("T")

log = structlog.get_logger("pileus.http")


class Query:
    """The query string: ordered, keys may repeat."""

    __slots__ = ("_first", "pairs")

    def __init__(self, text: str) -> None:
        self.pairs: list[tuple[str, str]] = parse_qsl(text, keep_blank_values=True) if text else []
        self._first: dict[str, str] = {}
        for key, value in self.pairs:
            self._first.setdefault(key, value)

    def __contains__(self, key: str) -> bool:
        return key in self._first

    def get(self, key: str, default: str | None = None) -> str | None:
        """The first value of a key."""
        return self._first.get(key, default)

    def all(self, key: str) -> list[str]:
        """All values of a key, in order."""
        return [value for name, value in self.pairs if name == key]

    def keys(self) -> Iterable[str]:
        """The different keys, in order of appearance."""
        return self._first.keys()

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean as OpenStack spells them: 1/0, true/false, yes/no, on/off, t/f, y/n. BadRequest else."""
        value = self._first.get(key)
        if value is None:
            return default
        return parse_flag(key, value)


_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})


def parse_flag(name: str, value: str) -> bool:
    """OpenStack's boolean texts, in any case. BadRequest names the field."""
    text = value.strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise BadRequest(f"{name} must be a boolean, not '{value}'.")


class Stream(Protocol):
    """An upload's bytes as they arrive."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        ...


@dataclass(slots=True)
class Reply:
    """A handler's answer. `body`: a JSON object, bytes, or an iterator of bytes for a download."""

    body: Any = None
    status: int | None = None  # the route's if None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    content_length: int | None = None  # of an iterator


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, parsed and authorised, as handlers see it."""

    method: str
    path: str
    params: Mapping[str, str]  # from the path template
    query: Query
    header: Callable[[str], str | None]
    stream: Stream
    content_length: int | None
    base_url: str  # the service's address as the caller reaches it, without a slash at the end
    request_id: str
    version: Version | None
    db: Database
    policy: Policy
    caller: Actor | None
    peer: tuple[str, int] = ("", 0)  # the address from which the request came, and our port that it came to
    body: Any = None
    rule: str = ""
    authorized: bool = False  # whether a rule was satisfied, by the kernel's check or the handler's

    @property
    def actor(self) -> Actor:
        """Who calls. Routes with a policy rule always have one."""
        if self.caller is None:
            raise RuntimeError(f"{self.method} {self.path} has no policy rule and yet wants to know its caller")
        return self.caller

    def read(self) -> AbstractContextManager[Tx]:
        """A transaction for reading."""
        return self.db.read()

    def transact(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a write transaction, repeated where the database broke it off."""
        return self.db.transact(work)

    def may(self, rule: str, target: Target | None = None) -> bool:
        """Whether the caller satisfies a rule."""
        return self.caller is not None and self.policy.allows(rule, self.caller, target)

    def authorize(self, target: Target, rule: str | None = None) -> None:
        """Forbidden unless the caller satisfies the route's rule (or another one) for the target."""
        self.policy.enforce(rule or self.rule, self.actor, target)
        self.authorized = True


Handler = Callable[[Call, S], Reply | dict[str, Any] | None]


@dataclass(frozen=True)
class Route(Generic[S]):
    """One operation.

    Before the handler runs, the kernel has verified the token, negotiated the version, decoded the body and checked
    `rule` against what is the caller's own; a handler that loads a target checks it again with `Call.authorize`.
    `action`: for `POST .../action` resources, the one key of the body that names this operation.
    `raw`: the body is left in `Call.stream` (uploads).
    `targeted`: the rule speaks of a target that only the handler can load, so the kernel checks no more than that there
    is a caller, and the handler must call `Call.authorize`; an answer without that is a defect and becomes a 500.
    """

    method: str
    path: str
    handler: Handler[S]
    rule: str
    status: int = 200
    body: Body | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None
    raw: bool = False
    targeted: bool = False
    window: Window = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", window(self.since, self.until))


ErrorShape = Callable[[PileusError, int, str], tuple[Any, str]]
"""Renders an error and its status, for a caller with this Accept header, as (JSON object or bytes, content type)."""


@dataclass(frozen=True)
class Service(Generic[S]):
    """A public API: where it lives, its routes and its ways of speaking.

    `types`: what it is called in the catalog, and so in access rules; its name, if nothing else is said.
    """

    name: str  # "compute"
    prefix: str  # "/compute/v2.1"
    routes: tuple[Route[S], ...]
    impl: S
    error_shape: ErrorShape
    microversions: Microversions | None = None
    exact_paths: bool = False
    """Whether a slash at the end makes another path, one that is not there; else it means nothing."""
    request_id_headers: tuple[str, ...] = ("X-Openstack-Request-Id",)
    documents: Mapping[str, Callable[[str], Reply]] = field(default_factory=dict)
    """Version documents outside `prefix`: path -> function of the cloud's address."""
    types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.types:
            object.__setattr__(self, "types", (self.name,))
