"""Keys are rotated while processes work with them: nothing fails meanwhile, and whatever dies leaves them usable."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from pileus.identity import models
from pileus.identity.fernet import Claims, new_audit_id
from pileus.identity.jws import JwsTokens, create_keypair
from pileus.identity.keys import KeyRepository, NoKeysError, create_keys, rotate
from pileus.identity.reencryption import encrypted_columns, rotate_credential_keys
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens.formats import FernetTokens, TokenFormat, token_format
from pileus.kernel.clock import MICROSECONDS, FakeClock, SystemClock
from pileus.kernel.db import Database
from pileus.kernel.errors import PileusError
from tests.identity.conftest import Cloud, cloud_on

CLAIMS = Claims(
    user_id="0123456789abcdef0123456789abcdef",
    user_epoch=3,
    methods=("password", "token"),
    scope="project",
    scope_id="fedcba9876543210fedcba9876543210",
    scope_epoch=1,
    audit_ids=(new_audit_id(), new_audit_id()),
    issued_at=1_700_000_000 * MICROSECONDS,
    expires_at=1_700_003_600 * MICROSECONDS,
)
WEEK = 7 * 86400.0


def numbers(directory: Path) -> set[int]:
    return {int(path.name) for path in directory.iterdir() if path.name.isdecimal()}


def age(directory: Path, seconds: float) -> None:
    """Let the files be older."""
    for path in directory.iterdir():
        made = path.stat().st_mtime - seconds
        os.utime(path, (made, made))


# --- the semantics of Keystone ------------------------------------------------------------------------------


def test_staged_becomes_primary_and_the_oldest_goes(tmp_path: Path) -> None:
    create_keys(tmp_path)
    staged = (tmp_path / "0").read_bytes()
    done = rotate(tmp_path, 3, 0)
    assert (done.primary, done.removed, done.kept) == (2, (), ())
    assert (tmp_path / "2").read_bytes() == staged
    assert (tmp_path / "0").read_bytes() != staged
    done = rotate(tmp_path, 3, 0)
    assert (done.primary, done.removed) == (3, (1,))
    assert numbers(tmp_path) == {0, 2, 3}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_keys_stay_as_long_as_their_tokens_may_live(tmp_path: Path) -> None:
    create_keys(tmp_path)
    tokens = FernetTokens(KeyRepository(tmp_path))
    first = tokens.seal(CLAIMS)
    for _ in range(5):
        done = rotate(tmp_path, 2, 3600)
    assert done.removed == ()
    assert done.kept == (1, 2, 3, 4, 5)
    assert tokens.unseal(first) == CLAIMS
    age(tmp_path, 3601)
    done = rotate(tmp_path, 2, 3600)
    assert done.kept == (6,), "it was primary until this moment"
    assert numbers(tmp_path) == {0, 6, 7}
    assert tokens.unseal(first) is None


def test_a_process_that_sees_a_rotation_late_understands_what_others_make(tmp_path: Path) -> None:
    """Keys reach another machine later: what it has staged is what encrypts here meanwhile."""
    create_keys(tmp_path / "here")
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "here").iterdir():
        (tmp_path / "there" / path.name).write_bytes(path.read_bytes())
    rotate(tmp_path / "here", 3, 0)
    token = FernetTokens(KeyRepository(tmp_path / "here")).seal(CLAIMS)
    assert FernetTokens(KeyRepository(tmp_path / "there")).unseal(token) == CLAIMS


def test_nothing_to_rotate_is_a_clear_error(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoKeysError):
            rotate(directory, 3, 0)


# --- death at every step ------------------------------------------------------------------------------------

_DIES = """
import os, sys
from pathlib import Path
left = int(sys.argv[1])
def die(event, arguments):
    global left
    if event in ("open", "os.rename", "os.remove") and armed:
        left -= 1
        if left < 0:
            os._exit(9)
armed = False
sys.addaudithook(die)
import pileus.identity.keys as keys
import pileus.identity.jws as jws
directory = Path(sys.argv[2])
armed = True
if sys.argv[3] == "fernet":
    keys.rotate(directory, 3, 0)
elif sys.argv[3] == "create":
    keys.create_keys(directory)
else:
    jws.create_keypair(directory / "private", directory / "public", 0)
"""


def dies_at(step: int, directory: Path, what: str) -> bool:
    """Rotate in a process that ends at its step-th access to a file, as SIGKILL would end it; whether it did."""
    done = subprocess.run([sys.executable, "-c", _DIES, str(step), str(directory), what], check=False)
    assert done.returncode in (0, 9)
    return done.returncode == 9


def test_killed_in_the_middle_leaves_valid_keys(tmp_path: Path) -> None:
    for step in range(100):
        directory = tmp_path / str(step)
        create_keys(directory)
        rotate(directory, 3, 0)
        tokens = FernetTokens(KeyRepository(directory))
        old, staged = tokens.seal(CLAIMS), (directory / "0").read_bytes()
        died = dies_at(step, directory, "fernet")
        assert tokens.unseal(old) == CLAIMS
        after = tokens.seal(CLAIMS)
        assert FernetTokens(KeyRepository(directory)).unseal(after) == CLAIMS
        rotate(directory, 3, 0)
        assert staged in {path.read_bytes() for path in directory.iterdir()}, "what others have staged is in use"
        assert 0 in numbers(directory)
        assert not list(directory.glob(".*")), "no leftovers"
        if not died:
            break
    assert 5 < step < 99


def test_killed_while_keys_are_made(tmp_path: Path) -> None:
    for step in range(100):
        directory = tmp_path / str(step)
        died = dies_at(step, directory, "create")
        create_keys(directory)
        FernetTokens(KeyRepository(directory)).seal(CLAIMS)
        rotate(directory, 3, 0)
        assert 0 in numbers(directory)
        if not died:
            break
    assert 3 < step < 99


def test_killed_while_a_key_pair_is_made(tmp_path: Path) -> None:
    for step in range(100):
        private, public = tmp_path / str(step) / "private", tmp_path / str(step) / "public"
        create_keypair(private, public)
        tokens = JwsTokens(private, public)
        old = tokens.seal(CLAIMS)
        died = dies_at(step, tmp_path / str(step), "jws")
        assert tokens.unseal(old) == CLAIMS
        assert tokens.unseal(tokens.seal(CLAIMS)) == CLAIMS
        if not died:
            break
    assert 5 < step < 99


# --- under load ---------------------------------------------------------------------------------------------

_WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
import msgspec
from pileus.identity.fernet import Claims
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens.formats import token_format
directory = Path(sys.argv[1])
settings = replace(
    IdentitySettings(),
    token_provider=sys.argv[4],
    token_keys=directory / "keys",
    jws_private_keys=directory / "private",
    jws_public_keys=directory / "public",
)
claims = msgspec.json.decode(sys.argv[2], type=Claims)
mine, shared = Path(sys.argv[3]), Path(sys.argv[3]).parent
format = token_format(settings)
count = 0
while not (shared / "stop").exists():
    token = format.seal(claims)
    assert format.unseal(token) == claims
    part = mine.with_suffix(".part")
    part.write_text(token)
    part.rename(mine)
    for other in shared.glob("*.token"):
        assert format.unseal(other.read_text()) == claims, other
    count += 1
print(count)
"""


@pytest.mark.parametrize("provider", ["fernet", "jws"])
def test_several_workers_and_many_rotations_without_a_failed_validation(tmp_path: Path, provider: str) -> None:
    settings = replace(
        IdentitySettings(),
        token_provider=provider,
        token_keys=tmp_path / "keys",
        jws_private_keys=tmp_path / "private",
        jws_public_keys=tmp_path / "public",
    )
    turn: Callable[[], object]
    if provider == "fernet":
        create_keys(settings.token_keys)
        turn = lambda: rotate(settings.token_keys, 3, 3600)  # noqa: E731
    else:
        turn = lambda: create_keypair(settings.jws_private_keys, settings.jws_public_keys, 3600)  # noqa: E731
        turn()
    before = token_format(settings).seal(CLAIMS)
    shared = tmp_path / "tokens"
    shared.mkdir()
    (shared / "before.token").write_text(before)
    arguments = [str(tmp_path), msgspec.json.encode(CLAIMS).decode()]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, *arguments, str(shared / f"{number}.token"), provider],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(shared.glob("*.token"))) < 4:
        assert time.monotonic() < deadline, "the workers do not work"
        time.sleep(0.01)
    for _ in range(25):
        turn()
        time.sleep(0.02)
    (shared / "stop").touch()
    for worker in workers:
        output, error = worker.communicate(timeout=60)
        assert worker.returncode == 0, error
        assert int(output) > 10
    assert token_format(settings).unseal(before) == CLAIMS


# --- signed tokens ------------------------------------------------------------------------------------------


@pytest.fixture
def signed(tmp_path: Path) -> TokenFormat:
    create_keypair(tmp_path / "private", tmp_path / "public")
    return JwsTokens(tmp_path / "private", tmp_path / "public")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scope": "domain", "scope_id": "default"},
        {"scope": "system", "scope_id": "", "scope_epoch": 0},
        {"scope": "unscoped", "scope_id": "", "scope_epoch": 0},
        {"identity_provider": "idp", "protocol": "openid"},
    ],
)
def test_what_is_signed_is_read(signed: TokenFormat, changes: dict[str, Any]) -> None:
    claims = msgspec.structs.replace(CLAIMS, **changes)
    assert signed.unseal(signed.seal(claims)) == claims


def test_signed_tokens_are_standard(signed: TokenFormat, tmp_path: Path) -> None:
    jwt = pytest.importorskip("jwt")
    public = next((tmp_path / "public").glob("*.pem"))
    token = signed.seal(CLAIMS)
    payload = jwt.decode(token, public.read_bytes(), algorithms=["ES256"], options={"verify_exp": False})
    assert payload["sub"] == CLAIMS.user_id
    assert payload["iat"] == 1_700_000_000
    assert payload["exp"] == 1_700_003_600
    assert payload["openstack_project_id"] == CLAIMS.scope_id
    assert payload["openstack_methods"] == ["password", "token"]
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "JWT", "kid": public.stem}


def test_forged_signatures_are_refused(signed: TokenFormat, tmp_path: Path) -> None:
    jwt = pytest.importorskip("jwt")
    token = signed.seal(CLAIMS)
    head, payload, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    public = next((tmp_path / "public").glob("*.pem"))
    create_keypair(tmp_path / "foreign", tmp_path / "foreign public")
    foreign = (tmp_path / "foreign" / "private.pem").read_bytes()
    other = signed.seal(msgspec.structs.replace(CLAIMS, user_epoch=4))
    forged = {
        "no signature": f"{head}.{payload}.",
        "another signature": f"{head}.{payload}.{signature[:-4]}AAAA",
        "algorithm none": jwt.encode(claims, "", algorithm="none"),
        "the public key as a secret": jwt.encode(claims, public.stem * 4, algorithm="HS256"),
        "a foreign key": jwt.encode(claims, foreign, algorithm="ES256"),
        "a foreign key under our name": jwt.encode(claims, foreign, algorithm="ES256", headers={"kid": public.stem}),
        "another payload": f"{head}.{other.split('.')[1]}.{signature}",
        "too long": token + "A" * 10000,
        "no token": "a.b",
        "not ASCII": "ä.b.c",
        "no base64": "a.b.c",
    }
    assert signed.unseal(token) == CLAIMS
    assert [name for name, text in forged.items() if signed.unseal(text) is not None] == []


def test_public_keys_go_when_their_tokens_have_ended(tmp_path: Path) -> None:
    private, public = tmp_path / "private", tmp_path / "public"
    first = create_keypair(private, public, 3600)
    second = create_keypair(private, public, 3600)
    age(public, 3601)
    third = create_keypair(private, public, 3600)
    assert {path.stem for path in public.glob("*.pem")} == {second, third}, "the second signed until now"
    assert first not in (second, third)


def test_a_cloud_with_signed_tokens(
    sqlite: Database, settings: IdentitySettings, tmp_path: Path, clock: FakeClock
) -> None:
    chosen = replace(
        settings,
        token_provider="jws",
        jws_private_keys=tmp_path / "private",
        jws_public_keys=tmp_path / "public",
    )
    made = cloud_on(sqlite, chosen, tmp_path, clock)
    cloud = next(made)
    assert cloud.admin.count(".") == 2
    neighbour = cloud.node()
    assert cloud.ok("GET", "/users")["users"]
    assert neighbour.identity.authenticate(cloud.admin).is_admin
    token = cloud.token()
    assert cloud.call("DELETE", "/auth/tokens", token=cloud.admin, X_Subject_Token=token).status_code == 204
    assert neighbour.call("GET", "/auth/projects", token=token).status_code == 401
    next(made, None)


# --- secrets in the database --------------------------------------------------------------------------------


def blobs(cloud: Cloud) -> list[str]:
    with cloud.db.read() as tx:
        return [row.encrypted_blob for row in tx.all(sa.select(models.credential.c.encrypted_blob))]


def make_credentials(cloud: Cloud, count: int) -> dict[str, str]:
    user = cloud.make("user", name="ann")
    return {
        cloud.make("credential", user_id=user["id"], type="cert", blob=f"blob {number}")["id"]: f"blob {number}"
        for number in range(count)
    }


def readable(cloud: Cloud) -> dict[str, str]:
    return {one["id"]: one["blob"] for one in cloud.ok("GET", "/credentials")["credentials"]}


def test_secrets_are_encrypted_with_the_new_key(any_cloud: Cloud) -> None:
    cloud, directory = any_cloud, any_cloud.settings.credential_keys
    wanted = make_credentials(cloud, 7)
    cloud.ok(
        "PUT", "/domains/default/config", {"config": {"ldap": {"url": "ldap://x", "password": "s3cret"}}}, status=201
    )
    before = blobs(cloud)
    done = rotate_credential_keys(cloud.db, directory, SystemClock())
    assert done.secrets == 8
    assert readable(cloud) == wanted
    assert not set(blobs(cloud)) & set(before)
    keys = KeyRepository(directory)
    assert all(keys.is_of_primary(blob.encode()) for blob in blobs(cloud))
    assert rotate_credential_keys(cloud.db, directory, SystemClock()).secrets == 8
    age(directory, WEEK)
    rotate_credential_keys(cloud.db, directory, SystemClock())
    assert len(numbers(directory)) == 3
    assert readable(cloud) == wanted


def test_a_rotation_that_was_killed_is_finished_by_the_next(cloud: Cloud) -> None:
    wanted, directory = make_credentials(cloud, 3), cloud.settings.credential_keys
    rotate(directory, 3, 0)  # and no further
    assert readable(cloud) == wanted
    age(directory, WEEK)
    assert rotate_credential_keys(cloud.db, directory, SystemClock()).secrets == 6
    assert readable(cloud) == wanted


def test_no_key_goes_while_a_secret_cannot_be_decrypted(cloud: Cloud) -> None:
    make_credentials(cloud, 3)
    directory = cloud.settings.credential_keys
    with cloud.db.write() as tx:
        tx.execute(sa.update(models.credential).values(encrypted_blob="gAAAAAnonsense"))
    before = numbers(directory)
    with pytest.raises(PileusError, match="3 secrets cannot be decrypted"):
        rotate_credential_keys(cloud.db, directory, SystemClock())
    assert numbers(directory) == before


def test_every_secret_is_in_a_column_that_is_rotated() -> None:
    """Who adds a column for what the credential keys encrypt, gives it such a name; these are all that exist."""
    assert "identity_credential.encrypted_blob" in {str(column) for column in encrypted_columns()}
    assert all(isinstance(column.type, sa.Text) for column in encrypted_columns())
