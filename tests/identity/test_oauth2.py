"""OS-OAUTH2: the token of an application credential as a bearer token."""

import base64
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.identity.conftest import Cloud, Person

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def ann(cloud: Cloud) -> Person:
    return Person(cloud, "ann")


def credential(person: Person) -> tuple[str, str]:
    """The id and secret of a new application credential."""
    path = f"/users/{person.id}/application_credentials"
    made = person.call("POST", path, {"application_credential": {"name": "app"}}, status=201)["application_credential"]
    return made["id"], made["secret"]


def ask(cloud: Cloud, form: dict[str, Any] | str, client: tuple[str, str] | None = None, header: str = "") -> Any:
    """Ask for a token."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if client is not None:
        header = "Basic " + base64.b64encode(":".join(client).encode()).decode()
    if header:
        headers["Authorization"] = header
    body = form if isinstance(form, str) else urlencode(form)
    return cloud.client.simulate_post("/identity/v3/OS-OAUTH2/token", body=body, headers=headers)


def test_a_bearer_token(ann: Person) -> None:
    cloud, client = ann.cloud, credential(ann)
    in_form = {**GRANT, "client_id": client[0], "client_secret": client[1]}
    for answer in (ask(cloud, GRANT, client), ask(cloud, in_form)):
        assert answer.status_code == 200, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json.keys() == {"access_token", "token_type", "expires_in"}
        assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", cloud.settings.token_lifetime)
        shown = cloud.call("GET", "/auth/tokens", token=cloud.admin, X_Subject_Token=answer.json["access_token"])
        assert shown.json["token"]["application_credential"]["id"] == client[0]
        assert shown.json["token"]["user"]["id"] == ann.id


def test_refusals(ann: Person) -> None:
    cloud, client = ann.cloud, credential(ann)
    for form, why in (
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        ("grant_type=%ff", "unsupported_grant_type"),
        ("x=" + "y" * 20000, "invalid_request"),
    ):
        answer = ask(cloud, form, client)
        assert (answer.status_code, answer.json["error"]) == (400, why), form
        assert answer.json["error_description"]
    for wrong in ((client[0], "wrong"), ("0" * 32, client[1]), (client[0], "")):
        answer = ask(cloud, GRANT, wrong)
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_client"), wrong
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")
    for header in ("", "Basic !", "Basic eA==", "Bearer x"):
        assert ask(cloud, GRANT, header=header).status_code == 401
