"""The `pileus` command.

Here are only the commands' names, options and help; each imports its work when it is called, so that `pileus --help`
and every mistyped command answer at once. (A command that has a module of its name is a function `..._command`.)
An expected error is one line on standard error: exit code 2 for wrong usage or configuration, 1 for everything else.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pileus.cli import db, saga
from pileus.cli.context import resolve_lazily, settings_of
from pileus.kernel.errors import PileusError

app = typer.Typer(
    name="pileus",
    help="An OpenStack-compatible cloud that starts with one command.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(db.app, name="db")
app.add_typer(saga.app, name="saga")


def main() -> None:
    """Run the command that the process was called with. Never returns."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as err:
        code = _exit_code(err)
        if code is None:
            raise
        for line in str(err).splitlines():
            print(f"pileus: {line}", file=sys.stderr)
        sys.exit(code)


def _exit_code(err: Exception) -> int | None:
    """The exit code for an expected error; None for a bug, whose traceback must be seen."""
    from pileus.kernel.config import SettingsError  # noqa: PLC0415 - only if something is wrong
    from pileus.kernel.policy import PolicyError  # noqa: PLC0415
    from pileus.supervisor.errors import CannotStart, CannotStop  # noqa: PLC0415

    if isinstance(err, SettingsError | PolicyError):
        return 2
    return 1 if isinstance(err, PileusError | CannotStart | CannotStop) else None


@app.callback()
def root(
    ctx: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The configuration file (default: /etc/pileus/pileus.toml).")
    ] = None,
) -> None:
    ctx.obj = config


@app.command()
def up(
    ctx: typer.Context,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background; return when it works.")
    ] = False,
) -> None:
    """Start a cloud on this machine and keep it running. If it runs already, say so."""
    from pileus.cli import machine  # noqa: PLC0415

    raise typer.Exit(machine.up(settings_of(ctx), detach=detach))


@app.command()
def down(
    ctx: typer.Context,
    purge: Annotated[bool, typer.Option(help="Delete database, images, disks, keys and logs as well.")] = False,
) -> None:
    """Stop the cloud and remove its guests, networks and mounts from this machine.

    To a guest this is a power cut. Database, images, disks and keys stay for the next `up`, after which the servers
    that ran are SHUTOFF and can be started again; with --purge nothing stays.
    """
    from pileus.cli import machine  # noqa: PLC0415

    machine.down(settings_of(ctx), purge=purge)


@app.command()
def serve(ctx: typer.Context) -> None:
    """Run only the processes that answer the API, in the foreground."""
    from pileus.cli import machine  # noqa: PLC0415

    raise typer.Exit(machine.serve(settings_of(ctx)))


@app.command()
def conductor(ctx: typer.Context) -> None:
    """Run only a conductor, in the foreground."""
    from pileus.cli import machine  # noqa: PLC0415

    machine.conductor(settings_of(ctx))


@app.command()
def agent(ctx: typer.Context) -> None:
    """Run only this host's agent, in the foreground."""
    from pileus.cli import machine  # noqa: PLC0415

    machine.agent(settings_of(ctx))


@app.command("config")
def config_command(
    ctx: typer.Context,
    defaults_toml: Annotated[
        bool, typer.Option("--defaults-toml", help="Print a configuration file with all defaults, commented out.")
    ] = False,
    names: Annotated[list[str] | None, typer.Argument(help="Only these: a section or section.key.")] = None,
) -> None:
    """Print every setting: its value, where that came from, its default and its meaning."""
    from pileus.cli import config as command  # noqa: PLC0415

    if defaults_toml:
        command.print_defaults()
    else:
        command.print_settings(settings_of(ctx), names or [])


@app.command("doctor")
def doctor_command(
    ctx: typer.Context,
    audit: Annotated[bool, typer.Option(help="Compare database and host: guests, disks, addresses, ledgers.")] = False,
) -> None:
    """Check this machine and its cloud. The exit code is 1 if anything has failed."""
    from pileus.cli import doctor as command  # noqa: PLC0415

    loaded = settings_of(ctx)
    raise typer.Exit(command.audit(loaded.settings) if audit else command.check(loaded.settings))


_FORWARD: dict[str, Any] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


@app.command("image", context_settings=_FORWARD)
def image_command(ctx: typer.Context) -> None:
    """Build images, and load metadata definitions: see `pileus image --help`."""
    resolve_lazily("pileus.cli.image:app", ctx)


@app.command("identity", context_settings=_FORWARD)
def identity_command(ctx: typer.Context) -> None:
    """Rotate identity's keys, import users from a Keystone: see `pileus identity --help`."""
    resolve_lazily("pileus.cli.identity:app", ctx)


@app.command("policy", context_settings=_FORWARD)
def policy_command(ctx: typer.Context) -> None:
    """List the rules of who may do what, and explain them: see `pileus policy --help`."""
    resolve_lazily("pileus.cli.policy:app", ctx)


@app.command("replicate", context_settings=_FORWARD)
def replicate_command(ctx: typer.Context) -> None:
    """Carry images between any two OpenStack image services: see `pileus replicate --help`."""
    resolve_lazily("pileus.cli.replicate:app", ctx)


@app.command("demo", context_settings=_FORWARD)
def demo_command(ctx: typer.Context) -> None:
    """Boot a first server and run a command in it; write openrc and clouds.yaml."""
    resolve_lazily("pileus.cli.demo:app", ctx)
