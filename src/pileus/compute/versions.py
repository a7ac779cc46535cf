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


def _version(base: str) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(MICROVERSIONS.maximum),
        "min_version": str(MICROVERSIONS.minimum),
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{base}{PREFIX}/"}],
    }


def _all(base: str) -> Reply:
    return Reply({"versions": [_version(base)]})


def _one(base: str) -> Reply:
    document = _version(base)
    document["links"].append(
        {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/api-ref/compute/"}
    )
    document["media-types"] = [
        {"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}
    ]
    return Reply({"version": document})


DOCUMENTS: Mapping[str, Callable[[str], Reply]] = {"/compute": _all, PREFIX: _one}
"""Path -> document, made for the cloud's address."""
