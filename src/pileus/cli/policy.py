"""`pileus policy`: who may do what, and why."""

from typing import Annotated

import typer

from pileus.cli.context import settings_of

app = typer.Typer(help="The rules of who may do what.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """The rules of who may do what."""


@app.command("list")
def list_(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Only rules whose names begin so: identity:get_user.")
    ] = None,
    overridden: Annotated[bool, typer.Option("--overridden", help="Only those that the site has changed.")] = False,
) -> None:
    """Print the rules as a policy file: defaults as comments, what the site has changed in force."""
    from pileus.cli import policy_work  # noqa: PLC0415 - not needed for help

    for line in policy_work.listing(settings_of(ctx).settings, tuple(names or ()), overridden=overridden):
        print(line)


@app.command()
def check(
    ctx: typer.Context,
    what: Annotated[list[str], typer.Argument(help="A rule, or a method and a path: GET /compute/v2.1/servers.")],
    token: Annotated[str | None, typer.Option(envvar="OS_TOKEN", help="The token of whoever asks.")] = None,
    user: Annotated[str | None, typer.Option(help="Without a token: the user who would ask, by name or id ...")] = None,
    user_domain: Annotated[str, typer.Option(help="... of this domain, by id ...")] = "default",
    project: Annotated[str | None, typer.Option(help="... with a token for this project, by name or id ...")] = None,
    project_domain: Annotated[str, typer.Option(help="... of this domain, by id.")] = "default",
    domain: Annotated[str | None, typer.Option(help="... or for this domain, by name or id.")] = None,
    system: Annotated[bool, typer.Option("--system", help="... or for the system.")] = False,
    target: Annotated[
        list[str] | None, typer.Option(help="What is acted on, such as target.user.domain_id=default; may be repeated.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Of POST .../action: the key in the body.")] = None,
) -> None:
    """Say whether somebody may do something, and how that was decided. The exit code is 1 if not."""
    from pileus.cli import policy_work  # noqa: PLC0415

    scope = policy_work.Scope(user, user_domain, project, project_domain, domain, system)
    allowed, lines = policy_work.check(settings_of(ctx).settings, what, token, scope, target or [], action)
    for line in lines:
        print(line)
    if not allowed:
        raise typer.Exit(1)
