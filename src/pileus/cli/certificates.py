"""`pileus image certificate`: the certificates of those who sign images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pileus.cli.context import settings_of

if TYPE_CHECKING:
    from pileus.image.signatures.service import Certificates

app = typer.Typer(help="The certificates of those who sign images.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """The certificates of those who sign images."""


def _certificates(ctx: typer.Context) -> "Certificates":
    from pileus.image.signatures.service import Certificates  # noqa: PLC0415 - not needed for help

    return Certificates(settings_of(ctx).settings.image.signatures.certificates_dir)


@app.command()
def add(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The certificate, in PEM form.", exists=True, dir_okay=False)],
    name: Annotated[str, typer.Option("--id", help="Its id, a UUID; made if absent.")] = "",
) -> None:
    """Keep a certificate; prints the id that images name in img_signature_certificate_uuid."""
    print(_certificates(ctx).add(path.read_text(encoding="utf-8"), name))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """All certificates: id, whose it is, and until when it is valid."""
    from pileus.kernel.signature import load_certificate  # noqa: PLC0415

    for name, text in _certificates(ctx).all():
        certificate = load_certificate(text)
        print(f"{name}  {certificate.not_valid_after_utc:%F}  {certificate.subject.rfc4514_string()}")


@app.command()
def remove(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The certificate's id.")]) -> None:
    """Forget a certificate: what is signed with it is not taken, and no server boots from it, any more."""
    _certificates(ctx).remove(name)
