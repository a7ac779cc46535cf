"""Microversions: a service announces a range, a request names one version of it, and tables carry windows.

The two headers and the answers 400 and 406 are those of the API SIG's guideline "Microversion Specification".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pileus.kernel.errors import BadRequest, NotAcceptable


class Version(NamedTuple):
    """`major.minor`; compares numerically, so 2.9 is before 2.10."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@cache
def parse(text: str) -> Version:
    """The version that `text` names. ValueError if it is not of the form `2.53`."""
    major, dot, minor = text.partition(".")
    if not dot or not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise ValueError(text)
    if (len(minor) > 1 and minor[0] == "0") or major[0] == "0":
        raise ValueError(text)
    return Version(int(major), int(minor))


class Window(NamedTuple):
    """The versions from `since` to `until`, both included; None is open."""

    since: Version | None = None
    until: Version | None = None

    def holds(self, version: Version | None) -> bool:
        """Whether the window holds `version`. Services without microversions (None) are in every window."""
        if version is None:
            return True
        return (self.since is None or version >= self.since) and (self.until is None or version <= self.until)

    def overlaps(self, other: "Window") -> bool:
        """Whether some version is in both windows."""
        return not (
            (self.until is not None and other.since is not None and self.until < other.since)
            or (other.until is not None and self.since is not None and other.until < self.since)
        )


def window(since: str | None = None, until: str | None = None) -> Window:
    """A window from the texts that tables are written with."""
    return Window(parse(since) if since else None, parse(until) if until else None)


@dataclass(frozen=True)
class Microversions:
    """A service's range, and the headers it listens to."""

    service_type: str  # the word in OpenStack-API-Version: "compute"
    minimum: Version
    maximum: Version
    legacy_header: str | None = None  # "X-OpenStack-Nova-API-Version"

    def negotiate(self, header: Callable[[str], str | None]) -> Version:
        """The version that a request asks for: BadRequest if malformed, NotAcceptable if out of range."""
        wanted = self._wanted(header)
        if wanted is None:
            return self.minimum
        if wanted == "latest":
            return self.maximum
        try:
            version = parse(wanted)
        except ValueError as err:
            raise BadRequest(
                f"API Version String {wanted} is of invalid format. Must be of format MajorNum.MinorNum."
            ) from err
        if not self.minimum <= version <= self.maximum:
            raise NotAcceptable(
                f"Version {version} is not supported by the API. "
                f"Minimum is {self.minimum} and maximum is {self.maximum}.",
                minimum=str(self.minimum),
                maximum=str(self.maximum),
            )
        return version

    def _wanted(self, header: Callable[[str], str | None]) -> str | None:
        standard = header("OpenStack-API-Version")
        if standard is not None:
            for item in standard.split(","):
                words = item.split()
                if words and words[0].lower() == self.service_type:
                    return words[1].lower() if len(words) > 1 else ""
        if self.legacy_header is not None:
            legacy = header(self.legacy_header)
            return None if legacy is None else legacy.strip().lower()
        return None

    def response_headers(self, version: Version) -> Mapping[str, str]:
        """What tells the caller which version answered."""
        headers = {"OpenStack-API-Version": f"{self.service_type} {version}"}
        vary = "OpenStack-API-Version"
        if self.legacy_header is not None:
            headers[self.legacy_header] = str(version)
            vary = f"{vary}, {self.legacy_header}"
        headers["Vary"] = vary
        return headers
