"""The compute API's versions: what is announced, and the discovery documents."""

from collections.abc import Callable, Mapping
from typing import Any

from pileus.kernel.http import Reply
from pileus.kernel.versions import Microversions, Version

PREFIX = "/compute/v2.1"
MICROVERSIONS = Microversions(
    service_type="compute",
    minimum=Version(2, 1),
    maximum=Version(2, 100),
    legacy_header="X-OpenStack-Nova-API-Version",
)
LEGACY_PREFIX = "/compute/v2"


class Unversioned(Microversions):
    """Version 2.0: the operations of 2.1, whatever version a request's headers name."""

    def negotiate(self, header: Callable[[str], str | None]) -> Version:
        return self.minimum

    def response_headers(self, version: Version) -> Mapping[str, str]:
        return {}


LEGACY = Unversioned(service_type="compute", minimum=MICROVERSIONS.minimum, maximum=MICROVERSIONS.minimum)


def _version(base: str) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(MICROVERSIONS.maximum),
        "min_version": str(MICROVERSIONS.minimum),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}{PREFIX}/"}],
    }


def _legacy_version(base: str) -> dict[str, Any]:
    return {
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}{LEGACY_PREFIX}/"}],
    }


def _all(base: str) -> Reply:
    return Reply({"versions": [_legacy_version(base), _version(base)]})


def _legacy(base: str) -> Reply:
    return Reply({"version": _described(_legacy_version(base), "2")})


def _one(base: str) -> Reply:
    return Reply({"version": _described(_version(base), "2.1")})


def _described(document: dict[str, Any], version: str) -> dict[str, Any]:
    page = {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/api-ref/compute/"}
    media_type = f"application/vnd.openstack.compute+json;version={version}"
    return {
        **document,
        "links": [*document["links"], page],
        "media-types": [{"base": "application/json", "type": media_type}],
    }


LEGACY_DOCUMENTS: Mapping[str, Callable[[str], Reply]] = {LEGACY_PREFIX: _legacy}
DOCUMENTS: Mapping[str, Callable[[str], Reply]] = {"/compute": _all, PREFIX: _one}
"""Path -> document, made for the cloud's address."""
