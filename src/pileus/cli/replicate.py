"""`pileus replicate`: images carried between any two OpenStack image services, or to and from a directory.

The exit code is 0 if the two agree (afterwards), 1 if not, 2 if the call or a login is wrong.
"""

import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from pileus.replicator.directory import Directory
    from pileus.replicator.display import Display
    from pileus.replicator.opening import Access
    from pileus.replicator.outcome import Report
    from pileus.replicator.patience import Patience
    from pileus.replicator.places import Selection, Target
    from pileus.replicator.records import Rules
    from pileus.replicator.runner import Run

INTERRUPTED = 130

app = typer.Typer(
    help="""Carry images between two OpenStack image services, or to and from a directory.

    FROM and TO are names of clouds in clouds.yaml, `env` (what OS_* in the environment describes), the address of an
    image service, or a directory (`dir:PATH`, or a path with a slash).""",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

From = Annotated[str, typer.Argument(metavar="FROM", help="Where the images are.")]
To = Annotated[str, typer.Argument(metavar="TO", help="Where they are to be.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
_Many = list[str]


@dataclass(frozen=True)
class Choice:
    """Which images are meant."""

    owner: Annotated[str | None, typer.Option(help="Only images of this project (its id).")] = None
    visibility: Annotated[str | None, typer.Option(help="Only images of this visibility.")] = None
    name: Annotated[_Many | None, typer.Option(help="Only images of this name; may hold * ? [..]. Repeatable.")] = None
    id: Annotated[_Many | None, typer.Option(help="Only this image. Repeatable.")] = None
    tag: Annotated[_Many | None, typer.Option(help="Only images with this tag. Repeatable: with all of them.")] = None
    hidden: Annotated[bool, typer.Option("--hidden", help="Hidden images too.")] = False

    def selection(self) -> "Selection":
        """The same for the replicator."""
        from pileus.replicator.places import Selection  # noqa: PLC0415 - not needed for help

        return Selection(
            self.owner,
            self.visibility,
            tuple(self.name or ()),
            tuple(self.id or ()),
            tuple(self.tag or ()),
            self.hidden,
        )


@dataclass(frozen=True)
class Likeness:
    """What is carried over and compared."""

    keep_owner: Annotated[bool, typer.Option("--keep-owner", help="Owners too; else images at TO are ours.")] = False
    members: Annotated[bool, typer.Option("--members", help="With whom images are shared, as well.")] = False
    set_visibility: Annotated[str | None, typer.Option(help="The visibility that images have at TO.")] = None
    ignore: Annotated[_Many | None, typer.Option(help="A field or property to leave alone. Repeatable.")] = None

    def rules(self) -> "Rules":
        """The same for the replicator."""
        from pileus.replicator.records import Rules  # noqa: PLC0415 - not needed for help

        return Rules(self.keep_owner, self.members, self.set_visibility, frozenset(self.ignore or ()))


@dataclass(frozen=True)
class Freedom:
    """What copying may do."""

    replace: Annotated[
        bool, typer.Option("--replace", help="Replace images at TO that have other data than FROM's of the same id.")
    ] = False
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Where an id is taken at TO, copy under another.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False


@dataclass(frozen=True)
class Ways:
    """How the two sides are spoken to."""

    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Images at a time.")] = 2
    from_token: Annotated[
        str | None, typer.Option(envvar="FROM_TOKEN", help="The token for a FROM that is an address.")
    ] = None
    to_token: Annotated[str | None, typer.Option(envvar="TO_TOKEN", help="The token for a TO that is an address.")] = (
        None
    )
    from_region: Annotated[str | None, typer.Option(help="The region of FROM.")] = None
    to_region: Annotated[str | None, typer.Option(help="The region of TO.")] = None
    cacert: Annotated[Path | None, typer.Option(help="Certificate authorities to trust, on both sides.")] = None
    insecure: Annotated[bool, typer.Option("--insecure", help="Trust any certificate, on both sides.")] = False
    cert: Annotated[Path | None, typer.Option(help="Our certificate, for both sides.")] = None
    key: Annotated[Path | None, typer.Option(help="Its key, if that is in a file of its own.")] = None
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a sign of life to give up after.")] = 120.0
    retries: Annotated[int, typer.Option(min=0, help="How often to try again what fails in passing.")] = 5

    def access(self, token: str | None, region: str | None) -> "Access":
        """How to get at one side. UsageError if a file that is named is not there."""
        from pileus.replicator.errors import UsageError  # noqa: PLC0415 - not needed for help
        from pileus.replicator.logins import Tls  # noqa: PLC0415
        from pileus.replicator.opening import Access  # noqa: PLC0415

        for path in (self.cacert, self.cert, self.key):
            if path is not None and not path.is_file():
                raise UsageError(f"There is no file {path}.")
        if self.key is not None and self.cert is None:
            raise UsageError("--key needs --cert.")
        cert = (str(self.cert), str(self.key)) if self.key else str(self.cert) if self.cert else None
        tls = Tls(False if self.insecure else str(self.cacert) if self.cacert else True, cert)
        return Access(token, region, tls, self.timeout, self.jobs)

    def patience(self) -> "Patience":
        """How often to try again."""
        from pileus.replicator.patience import Patience  # noqa: PLC0415 - not needed for help

        return Patience(self.retries)


def _spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are dataclasses become one option for each of their fields.

    Errors of the replicator that are not one image's end it with exit code 2.
    """
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        kind: Any = parameter.annotation
        if not is_dataclass(kind):
            parameters.append(parameter)
            continue
        groups[name] = kind
        hints = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
                              annotation=hints[field.name])
            for field in fields(kind)
        ]  # fmt: skip

    @functools.wraps(command)
    def run(**values: Any) -> None:
        from pileus.replicator.errors import ReplicationError  # noqa: PLC0415 - not needed for help

        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        try:
            command(**values)
        except ReplicationError as err:
            print(f"pileus: {err.message}", file=sys.stderr)
            raise typer.Exit(2) from err

    ordered = sorted(parameters, key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in ordered]
    )
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return run


@app.command("livecopy")
@_spread
def livecopy(
    source: From, target: To, choice: Choice, likeness: Likeness, freedom: Freedom, ways: Ways, as_json: AsJson = False
) -> None:
    """Make TO have FROM's images: their data, and all that is said of them.

    What TO has already is left alone or brought up to date; a run that was cut off continues.
    """
    _copy("livecopy", source, target, choice, likeness, freedom, ways, as_json)


@app.command("dump")
@_spread
def dump(
    source: From,
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The directory; made if absent.")],
    choice: Choice,
    likeness: Likeness,
    freedom: Freedom,
    ways: Ways,
    as_json: AsJson = False,
) -> None:
    """Store FROM's images in a directory: for each, <id>.json and <id>, its data."""
    from pileus.replicator.directory import Directory  # noqa: PLC0415 - not needed for help

    target = Directory(_path(directory))
    if not freedom.dry_run:
        target.make()
    _copy("dump", source, target, choice, likeness, freedom, ways, as_json)


@app.command("load")
@_spread
def load(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory that `dump` has made.")],
    target: To,
    choice: Choice,
    likeness: Likeness,
    freedom: Freedom,
    ways: Ways,
    as_json: AsJson = False,
) -> None:
    """Make TO have the images that are stored in a directory."""
    _copy("load", f"dir:{_path(directory)}", target, choice, likeness, freedom, ways, as_json)


@app.command("compare")
@_spread
def compare(
    source: From,
    target: To,
    choice: Choice,
    likeness: Likeness,
    ways: Ways,
    extra: Annotated[bool, typer.Option("--extra", help="Also tell of images that only TO has.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell in what TO's images differ from FROM's: missing ones, descriptions, tags, checksums."""
    _carry_out(source, target, choice, ways, as_json, lambda run: run.compare(likeness.rules(), extra=extra))


@app.command("size")
@_spread
def size(source: From, choice: Choice, ways: Ways, as_json: AsJson = False) -> None:
    """Count FROM's images and their bytes."""
    import json  # noqa: PLC0415 - not needed for help

    from pileus.replicator.display import amount  # noqa: PLC0415
    from pileus.replicator.opening import open_place  # noqa: PLC0415
    from pileus.replicator.runner import size as count  # noqa: PLC0415

    found = count(open_place(source, ways.access(ways.from_token, ways.from_region), ways.patience()),
                  choice.selection())  # fmt: skip
    if as_json:
        print(json.dumps({"command": "size", "from": source, **asdict(found)}))
    else:
        print(f"{found.images} images, {found.bytes} bytes ({amount(found.bytes)})")


def _path(directory: str) -> Path:
    from pileus.replicator.opening import directory_of  # noqa: PLC0415 - not needed for help

    return directory_of(directory) or Path(directory)


def _copy(
    command: str, source: str, target: "str | Directory", choice: Choice, likeness: Likeness, freedom: Freedom,
    ways: Ways, as_json: bool,
) -> None:  # fmt: skip
    from pileus.replicator.copier import Liberties  # noqa: PLC0415 - not needed for help

    liberties = Liberties(**asdict(freedom))
    _carry_out(
        source, target, choice, ways, as_json, lambda run: run.copy(command, likeness.rules(), liberties)
    )  # fmt: skip


def _carry_out(
    source: str, target: "str | Directory", choice: Choice, ways: Ways, as_json: bool, work: "Callable[[Run], Report]"
) -> None:
    """Open both ends, do the work, and end with the exit code that tells whether they agree."""
    from pileus.replicator.opening import open_place  # noqa: PLC0415 - not needed for help
    from pileus.replicator.runner import Run  # noqa: PLC0415

    patience = ways.patience()
    here = open_place(source, ways.access(ways.from_token, ways.from_region), patience)
    there: Target
    if isinstance(target, str):
        there = open_place(target, ways.access(ways.to_token, ways.to_region), patience)
    else:
        there = target
    display = _display(as_json)
    try:
        with display:
            report = work(Run(here, there, choice.selection(), patience, display, ways.jobs))
    except KeyboardInterrupt:  # a second one: the services see broken connections, and take their uploads back
        os._exit(INTERRUPTED)
    _tell(report, as_json)
    raise typer.Exit(INTERRUPTED if report.cancelled else 0 if report.agrees else 1)


def _display(as_json: bool) -> "Display":
    from pileus.replicator.display import Bars, Lines  # noqa: PLC0415 - not needed for help

    return Bars() if sys.stderr.isatty() and not as_json else Lines(quiet=as_json)


def _tell(report: "Report", as_json: bool) -> None:
    import json  # noqa: PLC0415 - not needed for help

    from pileus.replicator.display import amount  # noqa: PLC0415

    if as_json:
        print(json.dumps(report.document()))
        return
    counts = ", ".join(f"{count} {result}" for result, count in report.counts().items()) or "no images"
    print(f"{counts}; {amount(report.sent)} in {report.seconds:.1f} s")
    if report.cancelled:
        print("Cancelled. Images that are not complete are queued; the next run completes them.")
    else:
        print("The two agree." if report.agrees else "The two do not agree.")
