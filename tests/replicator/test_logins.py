"""Where clouds are read from, and what each key of clouds.yaml does."""

from pathlib import Path

import pytest

from pileus.replicator.connection import _versioned
from pileus.replicator.errors import UsageError
from pileus.replicator.logins import Login, Tls, of_cloud, of_environment, of_url
from pileus.replicator.opening import Access, _login, directory_of

CLOUDS = """
clouds:
  plain:
    auth: {auth_url: https://keystone/v3, username: ann, password: secret, project_name: web}
    region_name: north
    interface: internal
    cacert: /etc/ca.pem
    cert: /etc/cert.pem
    key: /etc/key.pem
  credential:
    auth_type: v3applicationcredential
    auth: {auth_url: https://keystone/v3, application-credential-id: x, application_credential_secret: y}
    verify: false
    image_endpoint_override: https://images
    endpoint_type: adminURL
  secret:
    auth: {auth_url: https://keystone/v3, username: ann}
  vendor: {profile: somebody}
  old: {identity_api_version: 2, auth: {auth_url: https://keystone}}
  wrong: [1]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    return tmp_path


def cloud(name: str, directory: Path) -> Login:
    return of_cloud(name, {}, [directory / "empty", directory])


def test_every_documented_key_is_read(directory: Path) -> None:
    assert cloud("plain", directory) == Login(
        "plain",
        "password",
        {"auth_url": "https://keystone/v3", "username": "ann", "password": "secret", "project_name": "web"},
        region="north",
        interface="internal",
        tls=Tls("/etc/ca.pem", ("/etc/cert.pem", "/etc/key.pem")),
    )
    other = cloud("credential", directory)
    assert other.auth["application_credential_id"] == "x"
    assert (other.auth_type, other.endpoint, other.interface) == ("v3applicationcredential", "https://images", "admin")
    assert other.tls == Tls(verify=False)


def test_secrets_come_from_a_file_of_their_own(directory: Path) -> None:
    (directory / "secure.yaml").write_text("clouds: {secret: {auth: {password: hush}}}")
    assert cloud("secret", directory).auth == {
        "auth_url": "https://keystone/v3", "username": "ann", "password": "hush",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "has no cloud 'nobody'; it has: credential, old, plain, secret, vendor, wrong"),
        ("vendor", "vendor profile"),
        ("old", "no longer exists"),
        ("wrong", "is not a mapping"),
    ],
)
def test_mistakes_are_told(directory: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        cloud(name, directory)


def test_the_file_that_the_environment_names_comes_first(directory: Path, tmp_path: Path) -> None:
    named = tmp_path / "other.yaml"
    named.write_text("clouds: {plain: {auth: {auth_url: https://other}}}")
    environ = {"OS_CLIENT_CONFIG_FILE": str(named)}
    assert of_cloud("plain", environ, [directory]).auth["auth_url"] == "https://other"
    with pytest.raises(UsageError, match="There is no file"):
        of_cloud("plain", {"OS_CLIENT_CONFIG_FILE": str(tmp_path / "none")}, [directory])
    named.write_text("clouds: {unclosed")
    with pytest.raises(UsageError, match="cannot be read"):
        of_cloud("plain", environ, [directory])


def test_the_environment_is_a_login() -> None:
    environ = {"OS_AUTH_URL": "https://keystone", "OS_USERNAME": "ann", "OS_REGION_NAME": "r", "OS_INSECURE": "true"}
    login = of_environment({**environ, "HOME": "/"})
    assert (login.auth_type, login.region, login.tls.verify) == ("password", "r", False)
    assert login.auth["username"] == "ann"
    token = of_environment({"OS_AUTH_URL": "https://keystone", "OS_TOKEN": "t"})
    assert token.auth_type == "token"
    secret = {"OS_AUTH_URL": "https://keystone", "OS_APPLICATION_CREDENTIAL_SECRET": "s"}
    assert of_environment(secret).auth_type == "v3applicationcredential"
    with pytest.raises(UsageError, match="OS_AUTH_URL"):
        of_environment({"OS_USERNAME": "ann"})


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(of_url("https://images", "hush"))


def test_the_command_line_comes_before_the_file(directory: Path) -> None:
    environ = {"OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml")}
    access = Access(region="south", tls=Tls(verify=False))
    login = _login("plain", access, environ)
    assert (login.region, login.tls.verify, login.tls.cert) == ("south", False, ("/etc/cert.pem", "/etc/key.pem"))
    with pytest.raises(UsageError, match="A token goes with the address"):
        _login("plain", Access(token="t"), environ)
    with pytest.raises(UsageError, match="not the address"):
        _login("https://host?query", Access(), environ)


def test_what_is_a_directory() -> None:
    assert directory_of("dir:images") == Path("images")
    assert directory_of("./images") == Path("images")
    assert directory_of("paris") is None
    assert directory_of("https://images/v2") is None


@pytest.mark.parametrize("endpoint", ["http://h:9292", "http://h:9292/", "http://h:9292/v2", "http://h:9292/v2.9/"])
def test_addresses_with_and_without_a_version(endpoint: str) -> None:
    assert _versioned(endpoint) == "http://h:9292/v2"
