"""`pileus demo`: the first server, from nothing to a command that ran inside it."""

import time
from pathlib import Path
from typing import Annotated

import typer

from pileus.cli.context import settings_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def demo(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Option(help="Where openrc and clouds.yaml are written.")] = Path(),
) -> None:
    """Boot a first server, log in to it over SSH through its floating IP, and write openrc and clouds.yaml."""
    from pileus.demo.client import Client  # noqa: PLC0415 - not needed for help
    from pileus.demo.first_server import Demo  # noqa: PLC0415
    from pileus.demo.login_files import write_login_files  # noqa: PLC0415
    from pileus.guest_image.builder import build  # noqa: PLC0415
    from pileus.guest_image.rootfs import USER  # noqa: PLC0415
    from pileus.supervisor.credentials import load_or_create  # noqa: PLC0415

    began = time.monotonic()
    settings = settings_of(ctx).settings
    state = settings.site.state_dir
    auth_url = f"{settings.site.public_url}/identity/v3"
    password = load_or_create(state).admin_password

    def progress(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    write_login_files(directory, auth_url, "admin", password, "admin", settings.site.region)
    client = Client(auth_url, "admin", password, "admin")
    first = Demo(client, state / "demo" / "id_ed25519", USER, progress).run(
        lambda: build(state / "guest-image", state / "guest-packages", progress).disk
    )
    progress(f"logged in: {first.greeting}")
    done = "booted" if first.created else "was there already, nothing was changed"
    print(f"Server first-server {done}. Log in to it with:\n  {first.login}")
    print(f"Go on with the official client:\n  source {directory / 'openrc'}    (or: export OS_CLOUD=pileus)")
    print("  openstack server list")
