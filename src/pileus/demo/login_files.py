"""`openrc` and `clouds.yaml`: how the official clients find the cloud."""

import os
import shlex
from pathlib import Path

import yaml


def write_login_files(directory: Path, auth_url: str, user: str, password: str, project: str, region: str) -> None:
    """Write both files into `directory`, readable by their owner only. Unchanged files are left alone."""
    variables = {
        "OS_AUTH_URL": auth_url,
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": user,
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": region,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    _write(directory / "openrc", "\n".join(["unset OS_CLOUD", *lines]) + "\n")
    login = {
        "auth_url": auth_url,
        "username": user,
        "password": password,
        "project_name": project,
        "user_domain_name": "Default",
        "project_domain_name": "Default",
    }
    cloud = {"auth": login, "region_name": region, "identity_api_version": 3}
    _write(directory / "clouds.yaml", yaml.safe_dump({"clouds": {"pileus": cloud}}, sort_keys=False))


def _write(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
