"""The official `openstack` command without its start: a process that has imported it forks for each call.

A page of a hundred commands takes half a minute so, instead of two. What runs is the client's own `main`, with the
caller's arguments, environment, directory and files.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

from openstackclient import shell

GROUPS = ("openstack.cli", "openstack.common", "openstack.compute.v2", "openstack.identity.v3", "openstack.image.v2")
_LARGEST = 1 << 20
_CALLER = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(call)
    sys.exit(server.recv(1)[0])
"""


@contextmanager
def warm_client(directory: Path) -> Iterator[Path]:
    """A directory for PATH in which `openstack` is, while the block runs."""
    programs, address = directory / "bin", str(directory / "client.sock")
    programs.mkdir()
    caller = programs / "openstack"
    caller.write_text(_CALLER.format(python=sys.executable, address=address))
    caller.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-m", __name__, str(listener.fileno())]
        with subprocess.Popen(command, cwd=Path(__file__).parents[1], pass_fds=[listener.fileno()]) as server:
            try:
                yield programs
            finally:
                server.kill()


def _serve(listener: socket.socket) -> None:
    """Answer calls, one after another. Never returns."""
    for group in GROUPS:
        for command in entry_points(group=group):
            command.load()
    while True:
        with listener.accept()[0] as caller:
            _answer(caller)


def _answer(caller: socket.socket) -> None:
    size, files, _, _ = socket.recv_fds(caller, 4, 3)
    call = b""
    while len(call) < int.from_bytes(size, "big"):
        call += caller.recv(_LARGEST)
    pid = os.fork()
    if pid == 0:
        _run(files, *json.loads(call))
    for file in files:
        os.close(file)
    caller.send(bytes([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]))


def _run(files: list[int], arguments: list[str], directory: str, environment: dict[str, str]) -> None:
    """Be the command. Never returns."""
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[0] = "openstack"
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in enumerate(("r", "w", "w"))
    )
    code: object = 1
    try:
        code = shell.main(arguments)
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
