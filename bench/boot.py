"""One server at a time on fake drivers, each with a port: from the call to ACTIVE, and from the deletion to gone.

`python -m bench.boot [--servers 100]`. All processes of a real cloud (one API worker per core, conductor, agent) over
real sockets, SQLite; the client polls every 2 ms.
"""

import argparse

from bench.support.report import Figure, percentiles, show
from bench.support.site import site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=100)
    count = parser.parse_args().servers
    with site() as cloud:
        template = cloud.template()
        for _ in range(5):
            cloud.delete(cloud.boot(template)[0])
        booted = [cloud.boot(template) for _ in range(count)]
        gone = [cloud.delete(server_id) for server_id, _ in booted]
    up, down = percentiles([milliseconds for _, milliseconds in booted]), percentiles(gone)
    show(
        f"{count} servers, one after another, polled every 2 ms; all processes real, drivers fake",
        [
            Figure("create to ACTIVE, p50", up[0], "ms", 60, 1402),
            Figure("create to ACTIVE, p95", up[1], "ms", 120, 1571),
            Figure("delete to gone, p50", down[0], "ms", None, 446),
            Figure("delete to gone, p95", down[1], "ms", None, 536),
        ],
    )


if __name__ == "__main__":
    main()
