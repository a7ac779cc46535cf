"""Where a place is and who we are there: from clouds.yaml, from OS_* in the environment, or from a URL and a token.

Read here, and not by openstacksdk, which is six times as large as all that the replicator needs besides. The keys are
those that its documentation gives for clouds.yaml; vendor profiles are not among them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pileus.replicator.errors import UsageError

SUFFIXES = (".yaml", ".yml", ".json")
DEFAULT_AUTH_TYPE = "password"
TOKEN_ENDPOINT, NO_AUTH = "admin_token", "none"
"""keystoneauth's names of logging in with a token and an endpoint, and of not logging in at all."""


@dataclass(frozen=True)
class Tls:
    """How a server proves who it is, and how we do.

    `verify`: True, False, or a file of certificate authorities. `cert`: a file with certificate and key, or both files.
    """

    verify: bool | str = True
    cert: str | tuple[str, str] | None = None


@dataclass(frozen=True)
class Login:
    """All that it takes to speak to an image service. `auth` are options of keystoneauth's plugin `auth_type`.

    `endpoint`: the image service's address if the catalog's is not to be used.
    """

    label: str
    auth_type: str = DEFAULT_AUTH_TYPE
    auth: Mapping[str, Any] = field(default_factory=dict, repr=False)
    region: str | None = None
    interface: str = "public"
    endpoint: str | None = None
    tls: Tls = field(default_factory=Tls)


def of_url(url: str, token: str | None) -> Login:
    """The login at the image service of this address."""
    if token is None:
        return Login(url, NO_AUTH, {"endpoint": url}, endpoint=url)
    return Login(url, TOKEN_ENDPOINT, {"endpoint": url, "token": token}, endpoint=url)


def of_environment(environ: Mapping[str, str] = os.environ) -> Login:
    """The login that OS_* describes; with OS_CLOUD, that cloud of clouds.yaml. UsageError if they describe none."""
    values = {name.removeprefix("OS_").lower(): value for name, value in environ.items() if name.startswith("OS_")}
    if "cloud" in values:
        return replace(of_cloud(values["cloud"], environ), region=values.get("region_name"))
    if not {"auth_url", "endpoint"} & values.keys():
        raise UsageError("env: neither OS_CLOUD nor OS_AUTH_URL is set.")
    auth_type = values.get("auth_type") or _guessed_type(values)
    return Login(
        "env",
        auth_type,
        values,
        region=values.get("region_name"),
        interface=_interface(values),
        endpoint=values.get("image_endpoint_override"),
        tls=_tls({**values, "insecure": values.get("insecure", "").lower() in ("1", "true", "yes")}),
    )


def _guessed_type(values: Mapping[str, str]) -> str:
    if "application_credential_secret" in values:
        return "v3applicationcredential"
    return "token" if "token" in values and "password" not in values else DEFAULT_AUTH_TYPE


def of_cloud(name: str, environ: Mapping[str, str] = os.environ, searched: Sequence[Path] | None = None) -> Login:
    """The login at a cloud of clouds.yaml, with the secrets that secure.yaml has of it. UsageError."""
    directories = _directories() if searched is None else searched
    path = _first_file("clouds", environ.get("OS_CLIENT_CONFIG_FILE"), directories)
    if path is None:
        raise UsageError(f"There is no clouds.yaml in {', '.join(map(str, directories))}, so no cloud '{name}'.")
    clouds = _clouds(path)
    if name not in clouds:
        known = ", ".join(sorted(clouds)) or "none"
        raise UsageError(f"{path} has no cloud '{name}'; it has: {known}. (A directory is written with a slash.)")
    cloud = _cloud(clouds, name, path)
    secure = _first_file("secure", environ.get("OS_CLIENT_SECURE_FILE"), directories)
    if secure is not None:
        cloud = _merged(cloud, _cloud(_clouds(secure), name, secure))
    if "profile" in cloud and "auth_url" not in cloud.get("auth", {}):
        raise UsageError(f"{path}: cloud '{name}' relies on a vendor profile; write its auth_url into the file.")
    if str(cloud.get("identity_api_version", "3")).startswith("2"):
        raise UsageError(f"{path}: cloud '{name}' wants version 2 of the identity API, which no longer exists.")
    auth = _mapping(cloud.get("auth", {}), path, f"clouds.{name}.auth")
    region = cloud.get("region_name")
    return Login(
        name,
        str(cloud.get("auth_type", DEFAULT_AUTH_TYPE)),
        {str(key).replace("-", "_"): value for key, value in auth.items()},
        region=None if region is None else str(region),
        interface=_interface(cloud),
        endpoint=cloud.get("image_endpoint_override"),
        tls=_tls(cloud),
    )


def _directories() -> list[Path]:
    return [Path.cwd(), Path.home() / ".config/openstack", Path("/etc/openstack")]


def _first_file(stem: str, named: str | None, directories: Sequence[Path]) -> Path | None:
    if named:
        if not Path(named).is_file():
            raise UsageError(f"There is no file {named}, which the environment names for {stem}.yaml.")
        return Path(named)
    candidates = (directory / f"{stem}{suffix}" for directory in directories for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _clouds(path: Path) -> Mapping[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise UsageError(f"{path} cannot be read: {err}") from err
    return _mapping(_mapping(document, path, "the file").get("clouds"), path, "clouds")


def _cloud(clouds: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    return dict(_mapping(clouds.get(name), path, f"clouds.{name}"))


def _mapping(value: Any, path: Path, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {what} is not a mapping.")
    return value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _interface(values: Mapping[str, Any]) -> str:
    return str(values.get("interface") or values.get("endpoint_type") or "public").removesuffix("URL")


def _tls(values: Mapping[str, Any]) -> Tls:
    cert, key = values.get("cert"), values.get("key")
    if key and not cert:
        raise UsageError("A key without a certificate is of no use: `cert` is missing.")
    verified = values.get("verify", True) is not False and values.get("insecure") is not True
    authorities = values.get("cacert")
    return Tls(
        verify=(str(Path(authorities).expanduser()) if authorities else True) if verified else False,
        cert=(str(cert), str(key)) if cert and key else cert,
    )
