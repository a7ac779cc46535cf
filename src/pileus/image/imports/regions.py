"""Images in other regions of the same catalog, read through their own image API."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import urllib3

from pileus.image.stores.base import CHUNK
from pileus.kernel.errors import BadRequest, NotFound, Unavailable

Addresses = Callable[[str, str], str | None]
"""(region, interface) -> the address of the image API there, from the catalog."""

_MAX_RECORD = 1 << 20
_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)


@dataclass(frozen=True)
class RemoteImage:
    """An image of another region: its record, and its bytes from some point on."""

    record: dict[str, Any]
    read: Callable[[int], Iterator[bytes]]


class Regions:
    """Finds images in other regions. Their addresses are the operator's, so they may be private ones."""

    def __init__(self, own: str, addresses: Addresses) -> None:
        self.own = own
        self._addresses = addresses
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT)

    def find(self, region: str, interface: str, image_id: str, token: str) -> RemoteImage:
        """An image, in the name of the token's user.

        BadRequest if the catalog has no such region or interface, NotFound if the user sees no such image, Unavailable.
        """
        address = self._addresses(region, interface)
        if address is None:
            raise BadRequest(f"The catalog has no {interface} image endpoint in region '{region}'.")
        base = address.rstrip("/")
        url = f"{base if base.endswith('/v2') else base + '/v2'}/images/{image_id}"
        headers = {"X-Auth-Token": token}
        response = self._ask(url, headers)
        try:
            record = msgspec.json.decode(response.read(_MAX_RECORD), type=dict[str, Any])
        except (msgspec.MsgspecError, urllib3.exceptions.HTTPError) as err:
            raise Unavailable(f"The image service of region '{region}' gives no sensible answer.") from err
        finally:
            response.close()
        return RemoteImage(record, lambda start: self._read(f"{url}/file", headers, start))

    def _read(self, url: str, headers: dict[str, str], start: int) -> Iterator[bytes]:
        response = self._ask(url, {**headers, "Range": f"bytes={start}-"} if start else headers)
        try:
            skip = start if response.status == 200 else 0  # a server that knows no ranges begins anew
            for chunk in response.stream(CHUNK, decode_content=False):
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0
        except urllib3.exceptions.HTTPError as err:
            raise Unavailable("The other region's image service broke off.") from err
        finally:
            response.close()

    def _ask(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
        except urllib3.exceptions.HTTPError as err:
            raise Unavailable("The other region's image service does not answer.") from err
        if response.status in (200, 206):
            return response
        response.close()
        if response.status >= 500:
            raise Unavailable(f"The other region's image service answers {response.status}.")
        raise NotFound(f"The other region's image service answers {response.status}: the image cannot be downloaded.")
