"""OpenStack Swift with its S3 API as one process, for tests: `/usr/bin/python3 swift_server.py DIRECTORY`.

Runs in the system's Python, for which Debian's package python3-swift is made. Prints the port of the S3 API as soon as
it answers. One account (AUTH_test) on one device with one replica; the key is `test:tester`, its secret `testing`.
"""

import sys
from pathlib import Path

import eventlet

eventlet.monkey_patch()

from swift.common import utils, wsgi  # noqa: E402 - after the patch
from swift.common.ring import RingBuilder  # noqa: E402

BACKENDS = ("account", "container", "object")
PROXY = """
[DEFAULT]
swift_dir = {directory}
[pipeline:main]
pipeline = s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
"""
BACKEND = """
[DEFAULT]
swift_dir = {directory}
devices = {directory}/devices
mount_check = false
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""


class Cache:
    """What memcached is to Swift's middleware, within this process."""

    def __init__(self, app):
        self._app = app
        self._values = {}

    def __call__(self, environ, start_response):
        environ["swift.cache"] = self
        return self._app(environ, start_response)

    def get(self, key, **_more):
        return self._values.get(key)

    def set(self, key, value, **_more):
        self._values[key] = value

    def delete(self, key, **_more):
        self._values.pop(key, None)


def main(directory: Path) -> None:
    """Serve for ever."""
    utils.HASH_PATH_SUFFIX = b"test"
    utils.get_logger({}, log_route="swift").logger.disabled = True
    (directory / "devices" / "d1").mkdir(parents=True)
    listening = {}
    for name in BACKENDS:
        listening[name] = eventlet.listen(("127.0.0.1", 0))
        ring = RingBuilder(4, 1, 1)
        port = listening[name].getsockname()[1]
        ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1})
        ring.rebalance(seed="test")
        ring.get_ring().save(str(directory / f"{name}.ring.gz"))
    listening["proxy"] = eventlet.listen(("127.0.0.1", 0))
    for name, sock in listening.items():
        conf = directory / f"{name}.conf"
        conf.write_text((PROXY if name == "proxy" else BACKEND).format(directory=directory, name=name))
        app = wsgi.loadapp(str(conf), global_conf={})
        eventlet.spawn(eventlet.wsgi.server, sock, Cache(app), log_output=False, protocol=wsgi.SwiftHttpProtocol)
    print(listening["proxy"].getsockname()[1], flush=True)
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
