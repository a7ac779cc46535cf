"""`pileus saga`: operations that run, or that need an operator."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pileus.cli.context import opened_database, settings_of

if TYPE_CHECKING:
    from pileus.kernel.db import Database, Tx
    from pileus.kernel.saga import Sagas

app = typer.Typer(help="Look at durable operations and unblock them.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(help="The operation's id.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended, too.")] = False,
    resource: Annotated[str | None, typer.Option(help="Only those of this resource (a server's UUID).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """Operations that have not ended, the latest first."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from pileus.kernel.clock import iso  # noqa: PLC0415
    from pileus.kernel.saga import State, listing  # noqa: PLC0415

    with _opened(ctx) as (db, _), db.read() as tx:
        found = listing(tx, states=list(State) if everything else None, resource=resource, limit=limit)
    table = Table(box=None, pad_edge=False)
    for column in ("id", "operation", "resource", "state", "since", "owner", "problem"):
        table.add_column(column, overflow="fold", min_width=36 if column in ("id", "resource") else None)
    for one in found:
        state = f"{one.state} (waits)" if one.blocked else str(one.state)
        problem = str(one.problem.get("message", "")) if one.problem else ""
        table.add_row(one.id, one.name, one.resource, state, iso(one.started_at), one.owner or "", problem)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 500  # one line for each, for programs that read it
    console.print(table if found else "Nothing is under way.")


@app.command()
def show(ctx: typer.Context, saga_id: _Id) -> None:
    """One operation with its steps and what went wrong."""
    from pileus.kernel.clock import iso_micro  # noqa: PLC0415
    from pileus.kernel.errors import NotFound  # noqa: PLC0415
    from pileus.kernel.saga import events  # noqa: PLC0415
    from pileus.kernel.saga import show as find  # noqa: PLC0415

    with _opened(ctx) as (db, sagas), db.read() as tx:
        one = find(tx, saga_id)
        steps = events(tx, sagas, saga_id)
    if one is None:
        raise NotFound(f"There is no operation {saga_id}.")
    state = f"{one.state}{' (waits for an earlier one)' if one.blocked else ''}"
    print(f"{one.name} version {one.version} of {one.resource}: {state}")
    print(f"project {one.project}, request {one.request_id}, owner {one.owner or 'none'}")
    print(f"started {iso_micro(one.started_at)}, ended {iso_micro(one.finished_at) or 'not yet'}")
    for step in steps:
        end = f"{iso_micro(step.finished_at)} {step.result}" if step.finished_at else "running"
        print(f"  {iso_micro(step.started_at)}  {step.step} on {step.host}: {end}")
        if step.message:
            print(f"      {step.error}: {step.message}")
    if one.problem:
        print(f"stuck in {one.problem.get('step')} after {one.problem.get('tries')} tries:")
        print(f"  {one.problem.get('error')}: {one.problem.get('message')}")
        print(one.problem.get("traceback", ""))


@app.command()
def retry(ctx: typer.Context, saga_id: _Id) -> None:
    """Try a stuck operation again now, instead of after its pause."""
    with _opened(ctx) as (db, sagas):
        _ask(db, lambda tx: sagas.request_retry(tx, saga_id), saga_id)
    print(f"{saga_id} will be tried now.")


@app.command()
def abandon(ctx: typer.Context, saga_id: _Id) -> None:
    """End a stuck operation without undoing the rest: you have cleaned up what it left behind."""
    with _opened(ctx) as (db, sagas):
        _ask(db, lambda tx: sagas.request_abandon(tx, saga_id), saga_id)
    print(f"{saga_id} will be ended as it is.")


def _ask(db: "Database", request: "Callable[[Tx], bool]", saga_id: str) -> None:
    from pileus.kernel.errors import Conflict  # noqa: PLC0415

    with db.write() as tx:
        found = request(tx)
    if not found:
        raise Conflict(f"There is no stuck operation {saga_id}.")


@contextmanager
def _opened(ctx: typer.Context) -> "Iterator[tuple[Database, Sagas]]":
    """The database, and a registry that knows no sagas but can send requests to those who do."""
    from pileus.kernel.clock import SystemClock  # noqa: PLC0415
    from pileus.kernel.nudge import Nudges  # noqa: PLC0415
    from pileus.kernel.saga import Sagas  # noqa: PLC0415

    settings = settings_of(ctx).settings
    with opened_database(settings) as db:
        yield db, Sagas(SystemClock(), Nudges(settings.site.run_dir))
