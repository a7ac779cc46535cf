"""The agent's side of `/agent/v1`: reports of what is, and the bytes of images."""

from collections.abc import Iterator, Mapping

import msgspec
import urllib3

from pileus.agent.api import HostReport, PowerReport, PowerState, ServerPassword
from pileus.agent.errors import ControlPlaneSilent, ImageUnusable
from pileus.kernel.rpc import HOST_SECRET_HEADER

CHUNK = 1 << 20


class ControlPlane:
    """Talks to the control plane in the name of one host."""

    def __init__(self, url: str, host: str, secret: str) -> None:
        self._base = f"{url.rstrip('/')}/agent/v1"
        self._host = host
        self._headers = {HOST_SECRET_HEADER: secret}
        self._pool = urllib3.PoolManager(maxsize=8, timeout=urllib3.Timeout(connect=5.0, read=30.0), retries=False)

    def report(self, report: HostReport) -> None:
        """Say what the host has and which guests run on it. ControlPlaneSilent if nobody heard."""
        self._post("report", report)

    def power(self, states: Mapping[str, PowerState]) -> None:
        """Say that guests changed their power state by themselves."""
        self._post("power", PowerReport(states=dict(states)))

    def password(self, server_id: str, password: str) -> int:
        """Have a guest's password kept; the status of the answer: 409 if one is kept already, 404 if the server is not
        on this host any more. ControlPlaneSilent if nobody heard."""
        return self._send(f"servers/{server_id}/password", ServerPassword(password=password))

    def image(self, image_id: str, start: int = 0) -> Iterator[bytes]:
        """The bytes of an image from `start` on, as they arrive."""
        headers = dict(self._headers)
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            response = self._pool.request(
                "GET",
                f"{self._base}/hosts/{self._host}/images/{image_id}/data",
                headers=headers,
                preload_content=False,
            )
            try:
                if response.status == 404:
                    raise ImageUnusable(f"image {image_id} has no data any more")
                if response.status not in (200, 206) or (start and response.status != 206):
                    raise ControlPlaneSilent(f"image {image_id}: the control plane answered {response.status}")
                yield from response.stream(CHUNK)
            finally:
                response.close()  # unless it was read to its end, bytes are left in it that nobody must get
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise ControlPlaneSilent(f"image {image_id}: {err}") from err

    def _post(self, what: str, body: msgspec.Struct) -> None:
        status = self._send(what, body)
        if status >= 300:
            raise ControlPlaneSilent(f"{what}: the control plane answered {status}")

    def _send(self, what: str, body: msgspec.Struct) -> int:
        try:
            response = self._pool.request(
                "POST",
                f"{self._base}/hosts/{self._host}/{what}",
                body=msgspec.json.encode(body),
                headers={**self._headers, "Content-Type": "application/json"},
            )
        except (urllib3.exceptions.HTTPError, OSError) as err:
            raise ControlPlaneSilent(f"{what}: {type(err).__name__}") from err
        return response.status
