"""The parts by themselves: key repositories, the token format, the generation."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from pileus.identity.fernet import Claims, new_audit_id, seal, unseal
from pileus.identity.generation import Generation
from pileus.identity.keys import KeyRepository, NoKeysError, create_keys
from pileus.identity.passwords import Passwords
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import MICROSECONDS

CLAIMS = Claims(
    user_id="0123456789abcdef0123456789abcdef",
    user_epoch=0,
    methods=("password",),
    audit_ids=(new_audit_id(),),
    issued_at=1_700_000_000 * MICROSECONDS,
    expires_at=1_700_003_600 * MICROSECONDS,
)


def test_keys_are_private_and_made_once(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "keys"
    create_keys(directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert before.keys() == {"0", "1"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())
    assert directory.stat().st_mode & 0o777 == 0o700
    create_keys(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_tokens_survive_a_rotation_and_end_with_their_key(tmp_path: Path) -> None:
    create_keys(tmp_path)
    repository, neighbour = KeyRepository(tmp_path), KeyRepository(tmp_path)
    old = seal(repository, CLAIMS)
    (tmp_path / "0").rename(tmp_path / "2")  # as Keystone rotates: the staged key becomes primary, and a new one staged
    (tmp_path / "0").write_bytes(Fernet.generate_key())
    new = seal(repository, CLAIMS)
    assert unseal(neighbour, old) == CLAIMS
    assert unseal(neighbour, new) == CLAIMS
    (tmp_path / "1").unlink()
    assert unseal(repository, old) is None
    assert unseal(repository, new) == CLAIMS


def test_no_keys_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NoKeysError, match="no primary key"):
        seal(KeyRepository(tmp_path), CLAIMS)
    with pytest.raises(NoKeysError, match="does not exist"):
        unseal(KeyRepository(tmp_path / "nowhere"), "token")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRepository:
    directory = tmp_path_factory.mktemp("keys")
    create_keys(directory)
    return KeyRepository(directory)


identifiers = st.one_of(st.uuids().map(lambda value: value.hex), st.text(min_size=1, max_size=36))


@given(
    user_id=identifiers,
    scope=st.one_of(
        st.tuples(st.sampled_from(["unscoped", "system"]), st.just("")),
        st.tuples(st.sampled_from(["project", "domain"]), identifiers),
    ),
    methods=st.lists(st.sampled_from(["password", "token", "totp"]), min_size=1, unique=True).map(sorted),
    epochs=st.tuples(st.integers(0, 1 << 31), st.integers(0, 1 << 31)),
)
def test_what_is_sealed_is_unsealed(keys, user_id, scope, methods, epochs) -> None:  # type: ignore[no-untyped-def]
    claims = Claims(
        user_id=user_id,
        user_epoch=epochs[0],
        methods=tuple(methods),
        scope=scope[0],
        scope_id=scope[1],
        scope_epoch=epochs[1],
        audit_ids=(new_audit_id(), new_audit_id()),
        issued_at=CLAIMS.issued_at,
        expires_at=CLAIMS.expires_at,
    )
    token = seal(keys, claims)
    assert unseal(keys, token) == claims
    if len(user_id) == 32 and user_id.isalnum() and len(scope[1]) in (0, 32) and scope[1].isascii():
        assert len(token) <= 255


def test_generation_is_one_for_all_processes(tmp_path: Path) -> None:
    generation = Generation(tmp_path)
    before = generation.value
    program = (
        "import sys; from pathlib import Path; from pileus.identity.generation import Generation\n"
        "g = Generation(Path(sys.argv[1]))\n"
        "for _ in range(2000): g.bump()"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=os.environ) for _ in range(2)]
    for _ in range(2000):
        generation.bump()
    assert [worker.wait() for worker in workers] == [0, 0]
    assert generation.value == before + 6000, "no step is lost"
    generation.close()


def test_generation_follows_the_database(tmp_path: Path) -> None:
    generation = Generation(tmp_path)
    for followed, steps in ((7, 1), (7, 0), (8, 1), (2, 1), (2, 0)):
        before = generation.value
        generation.follow(followed)
        assert generation.value == before + steps, followed
    generation.bump(reached=5)
    before = generation.value
    generation.follow(5)
    assert generation.value == before, "the machine's own change is not news to it"
    generation.close()


def test_hashes_of_another_cost_are_outdated() -> None:
    cheap = replace(IdentitySettings(), argon2_memory=1024, argon2_passes=1)
    stored = Passwords(cheap).hash("secret")
    assert Passwords(cheap).verify(stored, "secret")
    assert not Passwords(cheap).verify(stored, "Secret")
    assert not Passwords(cheap).verify(None, "secret")
    assert not Passwords(cheap).verify("nonsense", "secret")
    assert not Passwords(cheap).is_outdated(stored)
    assert Passwords(replace(cheap, argon2_passes=2)).is_outdated(stored)


def test_default_cost_is_owasps() -> None:
    assert "$argon2id$v=19$m=19456,t=2,p=1$" in Passwords(IdentitySettings()).hash("secret")
