"""`pileus identity` as an operator types it."""

import subprocess
from pathlib import Path

import bcrypt
import pytest

from pileus.identity.users import store as users_store
from pileus.kernel.db import Database
from tests.cli.test_cli import Command


@pytest.fixture
def pileus(tmp_path: Path, sqlite: Database) -> Command:
    """The command on a database that has all tables."""
    command = Command(tmp_path)
    command.environ["PILEUS_DATABASE_URL"] = str(sqlite.engine.url)
    return command


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


def keys_of(home: Path, kind: str = "token-keys") -> set[str]:
    return {path.name for path in (home / "state" / "identity" / kind).iterdir()}


def hash_of_admin(db: Database) -> str:
    with db.read() as tx:
        user = users_store.USERS.named(tx, "admin", domain_id="default")
        assert user is not None
        assert user.enabled
        stored = users_store.password_of(tx, user.id)
    assert stored is not None
    return stored.hash


def test_bootstrap_is_idempotent_and_lets_an_administrator_in_again(pileus: Command, sqlite: Database) -> None:
    first = done(pileus("identity", "bootstrap"))
    assert first.startswith("User admin (")
    made, keys = hash_of_admin(sqlite), keys_of(pileus.home)
    assert done(pileus("identity", "bootstrap")) == first
    assert (hash_of_admin(sqlite), keys_of(pileus.home)) == (made, keys)
    with sqlite.write() as tx:
        user = users_store.USERS.named(tx, "admin", domain_id="default")
        assert user is not None
        users_store.change_user(tx, user.id, {"enabled": False})
    again = pileus("identity", "bootstrap", OS_BOOTSTRAP_PASSWORD="a new one")
    assert done(again) == first
    assert "a new one" not in again.stdout + again.stderr
    changed = hash_of_admin(sqlite)
    assert changed != made
    done(pileus("identity", "bootstrap", "--password", "a new one"))
    assert hash_of_admin(sqlite) == changed, "it is that password already"


def test_rotate_keys(pileus: Command) -> None:
    without = pileus("identity", "rotate-keys")
    assert (without.returncode, without.stdout) == (1, "")
    assert "does not exist" in without.stderr
    done(pileus("identity", "bootstrap"))
    assert done(pileus("identity", "rotate-keys")) == "Key 2 encrypts from now on.\n"
    assert "Kept to decrypt tokens that have not ended: 1." in done(pileus("identity", "rotate-keys"))
    assert keys_of(pileus.home) == {"0", "1", "2", "3"}
    assert done(pileus("identity", "rotate-keys", "--credentials")).startswith("0 secrets are encrypted anew. Key 2")


def test_key_pairs(pileus: Command) -> None:
    done(pileus("identity", "bootstrap"))
    assert "signs from now on" in done(pileus("identity", "create-jws-keypair"))
    assert "There is a key pair already" in pileus("identity", "create-jws-keypair").stderr
    done(pileus("identity", "create-jws-keypair", "--replace"))
    done(pileus("identity", "rotate-keys", PILEUS_IDENTITY_TOKEN_PROVIDER="jws"))
    assert len(keys_of(pileus.home, "jws-keys/public")) == 3
    assert keys_of(pileus.home, "jws-keys/private") == {"private.pem"}


def test_import(pileus: Command, sqlite: Database, tmp_path: Path) -> None:
    done(pileus("identity", "bootstrap"))
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "keystone.sql").write_text(
        "-- MySQL dump\n"
        "INSERT INTO `project` (`id`,`name`,`is_domain`,`enabled`,`domain_id`) VALUES"
        " ('default','Default',1,1,'<<keystone.domain.root>>');\n"
        "INSERT INTO `user` (`id`,`domain_id`,`enabled`) VALUES ('u1','default',1);\n"
        "INSERT INTO `local_user` (`id`,`user_id`,`domain_id`,`name`) VALUES (7,'u1','default','ann');\n"
        f"INSERT INTO `password` (`local_user_id`,`password_hash`,`created_at_int`) VALUES (7,'{hashed}',1600);\n"
    )
    source = str(tmp_path / "keystone.sql")
    tried = done(pileus("identity", "import", "--dry-run", source))
    assert tried.startswith("Would be added: 0 projects, 0 roles, 1 user, 1 password")
    assert done(pileus("identity", "import", source)) == tried.replace("Would be added", "Added")
    with sqlite.read() as tx:
        stored = users_store.password_of(tx, "u1")
    assert stored is not None
    assert stored.hash == hashed
    missing = pileus("identity", "import", "/nowhere.sql")
    assert (missing.returncode, missing.stderr) == (
        1,
        "pileus: /nowhere.sql is neither a file nor the URL of a database.\n",
    )
