"""Memory while 2 GiB are uploaded: does it grow with the image?

`python -m bench.upload [--mib 2048]`. A real cloud; the sum of the proportional set sizes (PSS) of all its processes
is taken every 0.2 s. The image is random text of 1 MiB, sent again and again.
"""

import argparse
import os
import threading
import time

from bench.memory import rollup
from bench.support.http import Connection
from bench.support.report import Figure, show
from bench.support.site import Site, site

MIB = 1 << 20


def together(cloud: Site) -> float:
    """PSS of all processes, in MiB."""
    supervisor = int((cloud.cloud.directory / "run/supervisor.lock").read_text())
    pids = [supervisor, *cloud.pids("")]
    return sum(rollup(pid)["Pss"] for pid in pids)


def send(cloud: Site, image_id: str, mib: int) -> float:
    """Upload; MiB per second."""
    chunk = os.urandom(MIB)
    connection = Connection(cloud.cloud.port, cloud.api.token)
    head = [
        f"PUT /image/v2/images/{image_id}/file HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Auth-Token: {cloud.api.token}",
        "Content-Type: application/octet-stream",
        f"Content-Length: {mib * MIB}",
    ]
    begun = time.perf_counter()
    connection.send("\r\n".join(head).encode() + b"\r\n\r\n")
    for _ in range(mib):
        connection.send(chunk)
    status, answer = connection.receive()
    if status != 204:
        raise RuntimeError(f"upload: {status} {answer[:300]!r}")
    return mib / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048)
    mib = parser.parse_args().mib
    with site() as cloud:
        small = cloud.api.make("/image/v2/images", {"name": "s", "disk_format": "raw", "container_format": "bare"})
        send(cloud, small["id"], 8)  # so that what the first upload imports is not counted
        image = cloud.api.make("/image/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"})
        before = together(cloud)
        peak = before
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.2):
                peak = max(peak, together(cloud))

        watcher = threading.Thread(target=watch)
        watcher.start()
        speed = send(cloud, image["id"], mib)
        done.set()
        watcher.join()
        after = together(cloud)
    show(
        f"one upload of {mib} MiB; PSS of all processes every 0.2 s",
        [
            Figure("before", before, "MiB", 150, 1315),
            Figure("highest during the upload, above that", peak - before, "MiB", 8),
            Figure("afterwards, above that", after - before, "MiB", 8),
            Figure("speed", speed, "MiB/s", None, 162, more=True),
        ],
    )


if __name__ == "__main__":
    main()
