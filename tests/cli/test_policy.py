"""`pileus policy` as an operator types it."""

from pathlib import Path

import pytest
import yaml

from pileus.kernel.db import Database
from pileus.kernel.policy import load_overrides
from tests.cli.test_cli import Command


@pytest.fixture
def pileus(tmp_path: Path, sqlite: Database) -> Command:
    """The command on a cloud that has an administrator."""
    command = Command(tmp_path)
    command.environ |= {
        "PILEUS_DATABASE_URL": str(sqlite.engine.url),
        "PILEUS_SITE_POLICY_FILE": str(tmp_path / "policy.yaml"),
        "PILEUS_SITE_POLICY_DIR": str(tmp_path / "policy.d"),
    }
    assert command("identity", "bootstrap").returncode == 0
    return command


def test_list_is_a_policy_file(pileus: Command, tmp_path: Path) -> None:
    everything = pileus("policy", "list")
    assert everything.returncode == 0
    assert yaml.safe_load(everything.stdout) is None, "defaults are comments"
    for name in ("identity:get_user", "os_compute_api:servers:create", "add_image", "create_network"):
        assert f'#"{name}": ' in everything.stdout
    (tmp_path / "policy.yaml").write_text('"identity:get_user": "role:admin"\nhelpful: "role:x"\n')
    changed = pileus("policy", "list", "--overridden").stdout
    (tmp_path / "again.yaml").write_text(changed)
    assert load_overrides(tmp_path / "again.yaml") == {"identity:get_user": "role:admin", "helpful": "role:x"}
    assert "# default: " in changed
    assert pileus("policy", "list", "identity:get_user").stdout.count('": "') == 1


def test_check_explains(pileus: Command, tmp_path: Path) -> None:
    allowed = pileus("policy", "check", "GET", "/identity/v3/users/abc", "--user", "admin", "--project", "admin")
    assert allowed.returncode == 0, allowed.stderr
    lines = allowed.stdout.splitlines()
    assert lines[0] == "GET /identity/v3/users/abc is decided by identity:get_user."
    assert lines[1].startswith("User admin (")
    assert "roles: admin, manager, member, reader." in lines[1]
    assert lines[2] == "Not known of what is acted on (--target): target.user.domain_id, target.user.id."
    assert lines[3] == "yes identity:get_user (default)"
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "identity.yaml").write_text('"identity:get_user": "role:nobody"\n')
    denied = pileus("policy", "check", "identity:get_user", "--user", "admin", "--system")
    assert denied.returncode == 1
    assert "no  identity:get_user (overridden; the default is" in denied.stdout
    assert "the roles are admin, manager, member, reader" in denied.stdout


def test_check_takes_targets_actions_and_public_operations(pileus: Command) -> None:
    who = ("--user", "admin", "--project", "admin")
    own = pileus("policy", "check", "identity:get_user", *who, "--target", "target.user.id=x")
    assert "the target's is x" in own.stdout
    assert "without a token" in pileus("policy", "check", "POST", "/identity/v3/auth/tokens").stdout
    path = "/compute/v2.1/servers/abc/action"
    assert "Which action" in pileus("policy", "check", "POST", path, *who).stderr
    reboot = pileus("policy", "check", "POST", path, "--action", "reboot", *who)
    assert "is decided by os_compute_api:servers:reboot" in reboot.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense", "--user", "admin"], "There is no rule nonsense"),
        (["GET", "/nowhere", "--user", "admin"], "There is no operation GET /nowhere"),
        (["identity:get_user"], "give --token, or --user"),
        (["identity:get_user", "--user", "nobody"], "Could not find user: nobody"),
        (["identity:get_user", "--user", "admin", "--project", "x"], "Could not find project: x"),
        (["identity:get_user", "--user", "admin", "--domain", "default"], "has no access to domain default"),
        (["identity:get_user", "--token", "forged"], "requires authentication"),
        (["identity:get_user", "--user", "admin", "--target", "x"], "not of the form name=value"),
    ],
)
def test_wrong_questions(pileus: Command, words: list[str], said: str) -> None:
    done = pileus("policy", "check", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_file_is_named(pileus: Command, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('"identity:get_user": "role:admin or"\n')
    done = pileus("policy", "list")
    assert (done.returncode, done.stderr) == (2, "pileus: policy check 'role:admin or' ends too early\n")
