"""`pileus identity`: what operators do to identity outside of its API."""

from typing import Annotated

import typer

from pileus.cli.context import settings_of

app = typer.Typer(
    help="Set up identity, rotate its keys, and import users from a Keystone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """Set up identity, rotate its keys, and import users from a Keystone."""


@app.command()
def bootstrap(
    ctx: typer.Context,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="OS_BOOTSTRAP_PASSWORD",
            help="The administrator's, which is then set and the user enabled; better given in the environment.",
        ),
    ] = None,
) -> None:
    """Have keys, the default domain, roles, the administrator and the catalog. Safe to repeat.

    What exists stays as it is; only the addresses in the catalog follow the settings. Without a password a new
    administrator gets the one that `pileus up` has made for this cloud.
    """
    from pileus.cli import identity_work  # noqa: PLC0415 - not needed for help

    print(identity_work.bootstrap(settings_of(ctx).settings, password))


@app.command("rotate-keys")
def rotate_keys(
    ctx: typer.Context,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Those that encrypt secrets in the database, and encrypt all anew.")
    ] = False,
) -> None:
    """Take new keys for tokens into use. The processes of the API notice by themselves; valid tokens stay valid.

    Where several machines serve the API, give them the directory's new content afterwards, and rotate no more before
    they have it. May be killed and run again.
    """
    from pileus.cli import identity_work  # noqa: PLC0415

    settings = settings_of(ctx).settings
    print(identity_work.rotate_credential_keys(settings) if credentials else identity_work.rotate_token_keys(settings))


@app.command("create-jws-keypair")
def create_jws_keypair(
    ctx: typer.Context,
    replace: Annotated[
        bool, typer.Option(help="Sign with it from now on where there is a key pair already; that one still verifies.")
    ] = False,
) -> None:
    """Make the key pair of signed tokens ([identity] token_provider = "jws")."""
    from pileus.cli import identity_work  # noqa: PLC0415

    print(identity_work.create_jws_keypair(settings_of(ctx).settings, replace=replace))


@app.command("import")
def import_(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(help="A dump of a Keystone's database (mysqldump, pg_dump), or its SQLAlchemy URL."),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be added.")] = False,
) -> None:
    """Add the domains, projects, roles, users with their passwords, groups and assignments of a Keystone.

    Their ids stay. What is here already, by id or name, is left alone. Passwords work as before: their hashes (bcrypt,
    scrypt, pbkdf2_sha512, sha512_crypt) are replaced by argon2id at each user's first login.
    """
    from pileus.cli import identity_work  # noqa: PLC0415

    for line in identity_work.import_keystone(settings_of(ctx).settings, source, dry_run=dry_run):
        print(line)
