"""The image service's numbers: uploads and downloads, pages of many images, boots from the host's cache.

`python -m bench.image [--mib 1024] [--images 10000]`. A real cloud with fake hypervisors for the first three; the
last uses the host's image cache itself, as an agent does.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.support.http import Connection
from bench.support.report import Figure, show
from bench.support.site import Site, site
from bench.upload import MIB, send

PAGES = 20


def receive(cloud: Site, image_id: str) -> float:
    """Download; MiB per second."""
    connection = Connection(cloud.cloud.port, cloud.api.token)
    begun = time.perf_counter()
    size = connection.download(f"/image/v2/images/{image_id}/file")
    return size / MIB / (time.perf_counter() - begun)


def transfers(cloud: Site, mib: int) -> list[Figure]:
    """One image up, and down three times."""
    image = cloud.api.make("/image/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"})
    up = send(cloud, image["id"], mib)
    down = statistics.median(receive(cloud, image["id"]) for _ in range(3))
    cloud.api.ask("DELETE", f"/image/v2/images/{image['id']}")
    return [
        Figure("upload", up, "MiB/s", 243, 162, more=True),
        Figure("download", down, "MiB/s", 1656, 1104, more=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    options = parser.parse_args()
    with site() as cloud:
        show(f"one image of {options.mib} MiB", transfers(cloud, options.mib))


if __name__ == "__main__":
    main()
