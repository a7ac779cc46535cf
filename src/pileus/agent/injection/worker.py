"""The process that opens one disk: `python -m pileus.agent.injection.worker SCRATCH`, a Job to its standard input.

It is started in namespaces of its own, where it is the first process. Its mounts are seen by nobody else, and with it
end all programs that it started, and their mounts and devices; so a kill leaves nothing on the host.
"""

import sys
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from pileus.agent.api import Injection
from pileus.agent.injection.content import Content, prepared
from pileus.agent.injection.handlers import handlers
from pileus.agent.injection.handlers.base import Disk, Handler, Means
from pileus.agent.injection.programs import CannotOpenError, trusted
from pileus.agent.injection.tree import FileSystem, InjectionRefusedError, Tree


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to write into which disk, and how. `memory` in MiB."""

    path: str
    format: str
    injection: Injection
    handlers: tuple[str, ...]
    partition: str
    memory: int


class Said(msgspec.Struct, frozen=True):
    """Something that was not done, and why."""

    what: str
    why: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job. `refused`: why it failed; `of_image` if that is so on every host."""

    handler: str | None = None
    passed_over: tuple[Said, ...] = ()
    written: tuple[str, ...] = ()
    left_out: tuple[Said, ...] = ()
    refused: str | None = None
    of_image: bool = False


def work(job: Job, scratch: Path) -> Outcome:
    """Do a job by the first handler that opens the disk."""
    disk = Disk(Path(job.path), job.format)
    known = handlers(Means(job.partition, job.memory, scratch))
    content = prepared(job.injection)
    passed: list[Said] = []
    of_image: list[bool] = []
    for name in job.handlers:
        unfit = known[name].unfit(disk)
        if unfit is not None:
            passed.append(Said(name, unfit))
            continue
        try:
            outcome = _through(known[name], disk, content)
        except CannotOpenError as err:
            passed.append(Said(name, err.reason))
            of_image.append(err.of_image)
        else:
            return msgspec.structs.replace(outcome, handler=name, passed_over=tuple(passed))
    no_host_can = bool(of_image) and all(of_image)
    return Outcome(passed_over=tuple(passed), refused="no handler opens the disk", of_image=no_host_can)


def _through(handler: Handler, disk: Disk, content: Content) -> Outcome:
    """Write the content. CannotOpenError only if nothing was written: once a file may have been, another handler would
    find half of it."""
    opened = handler.opened(disk)
    try:
        files = opened.__enter__()
    except InjectionRefusedError as err:
        raise CannotOpenError(str(err), of_image=True) from err
    try:
        outcome = _written(Tree(files), content)
    finally:
        failure = _closed(opened)
    return outcome if failure is None else Outcome(refused=failure)


def _closed(opened: AbstractContextManager[FileSystem]) -> str | None:
    try:
        opened.__exit__(None, None, None)
    except (CannotOpenError, InjectionRefusedError) as err:
        return str(err)
    return None


def _written(tree: Tree, content: Content) -> Outcome:
    written: list[str] = []
    left_out = [Said(*one) for one in content.impossible]
    for name, edit in content.optional:
        try:
            edit(tree)
        except InjectionRefusedError as err:
            left_out.append(Said(name, str(err)))
        else:
            written.append(name)
    try:
        for one in content.files:
            tree.write(one.path, one.content)
            written.append(one.path)
    except InjectionRefusedError as err:
        return Outcome(written=tuple(written), left_out=tuple(left_out), refused=str(err), of_image=True)
    return Outcome(written=tuple(written), left_out=tuple(left_out))


def main() -> None:
    """Read the job, do it and answer its outcome."""
    scratch = Path(sys.argv[1])
    trusted(["mount", "-t", "tmpfs", "-o", "mode=0700,nosuid,nodev,noexec", "pileus-injection", str(scratch)])
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(work(job, scratch)))


if __name__ == "__main__":
    main()
