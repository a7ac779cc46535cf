"""The work of `pileus identity`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pileus.api import ENDPOINTS
from pileus.cli.context import opened_database
from pileus.identity import bootstrap as identity_bootstrap
from pileus.identity import jws, keys, reencryption
from pileus.identity.bootstrap import ADMIN
from pileus.identity.generation import Generation
from pileus.identity.keystone_import.dump import read_dump
from pileus.identity.keystone_import.service import Imported, KeystoneImport
from pileus.identity.keystone_import.store import read_database
from pileus.kernel.clock import SystemClock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import BadRequest, PileusError
from pileus.settings import Settings
from pileus.supervisor.credentials import load_or_create
from pileus.wiring import build


class _DryRun(Exception):
    """Ends a transaction whose changes are not wanted."""


def bootstrap(settings: Settings, password: str | None) -> str:
    """Have what a new cloud's identity begins with; says so."""
    credentials = load_or_create(settings.site.state_dir)
    identity_bootstrap.create_keys(settings.identity)
    with opened_database(settings):  # for a word about a database that is not ready
        cloud = build(settings, credentials.host_secret)
    try:
        with cloud.db.write() as tx:
            admin = identity_bootstrap.bootstrap(
                tx,
                cloud.identity,
                admin_password=password or credentials.admin_password,
                region=settings.site.region,
                endpoints=ENDPOINTS,
                public_url=settings.site.public_url,
            )
            if password is not None:
                identity_bootstrap.admit(tx, cloud.identity, admin.user_id, password)
    finally:
        cloud.close()
    return f"User {ADMIN} ({admin.user_id}), project {admin.project_id}, region {settings.site.region}: all there."


def rotate_token_keys(settings: Settings) -> str:
    """Rotate the keys of the tokens' format, and those of receipts; says what was done."""
    identity = settings.identity
    with _named_errors():
        keys.rotate(identity.receipt_keys, identity.max_active_keys, identity.receipt_lifetime)
        if identity.token_provider == "jws":  # noqa: S105 - a format
            return create_jws_keypair(settings, replace=True)
        lifetime = identity.token_lifetime + identity.allow_expired_window
        done = keys.rotate(identity.token_keys, identity.max_active_keys, lifetime)
    return _in_words(done, "to decrypt tokens that have not ended")


def rotate_credential_keys(settings: Settings) -> str:
    """Rotate the keys of secrets and encrypt these anew; says what was done."""
    with opened_database(settings) as db, _named_errors():
        done = reencryption.rotate_credential_keys(db, settings.identity.credential_keys, SystemClock())
    return f"{done.secrets} secrets are encrypted anew. {_in_words(done.keys, 'for a while')}"


def create_jws_keypair(settings: Settings, *, replace: bool) -> str:
    """Make a key pair; says which."""
    identity = settings.identity
    if jws.has_keypair(identity.jws_private_keys) and not replace:
        raise BadRequest(f"There is a key pair already: {identity.jws_private_keys} (--replace makes another).")
    lifetime = identity.token_lifetime + identity.allow_expired_window
    kid = jws.create_keypair(identity.jws_private_keys, identity.jws_public_keys, lifetime)
    return f"Key {kid} signs from now on; what verifies it is {identity.jws_public_keys / kid}.pem"


def import_keystone(settings: Settings, source: str, *, dry_run: bool) -> Iterator[str]:
    """Import from a dump or a database; says what was added and what was left out."""
    if "://" in source:
        tables = read_database(source)
    elif Path(source).is_file():
        tables = read_dump(Path(source))
    else:
        raise BadRequest(f"{source} is neither a file nor the URL of a database.")
    work = KeystoneImport(tables, Generation(settings.site.run_dir), SystemClock())
    with opened_database(settings) as db:
        done = _tried(db, work) if dry_run else db.transact(work.run)
    yield f"{'Would be added' if dry_run else 'Added'}: " + ", ".join(
        f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in done.added.items()
    )
    yield from (f"left out: {why}" for why in done.left_out)


def _tried(db: Database, work: KeystoneImport) -> Imported:
    found: list[Imported] = []

    def run(tx: Tx) -> None:
        found.append(work.run(tx))
        raise _DryRun

    try:
        db.transact(run)
    except _DryRun:
        return found[-1]
    raise AssertionError


@contextmanager
def _named_errors() -> Iterator[None]:
    try:
        yield
    except keys.NoKeysError as err:
        raise PileusError(f"{err} (`pileus identity bootstrap` makes keys)") from err


def _in_words(done: keys.Rotation, why: str) -> str:
    words = f"Key {done.primary} encrypts from now on."
    if done.removed:
        words += f" Removed: {', '.join(map(str, done.removed))}."
    if done.kept:
        words += f" Kept {why}: {', '.join(map(str, done.kept))}."
    return words
