"""Microversions as the API SIG's guideline has them."""

import pytest

from pileus.kernel.errors import BadRequest, NotAcceptable
from pileus.kernel.versions import Microversions, Version, parse, window

NOVA = Microversions("compute", Version(2, 1), Version(2, 96), "X-OpenStack-Nova-API-Version")


def negotiate(**headers: str) -> str:
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return str(NOVA.negotiate(lambda name: named.get(name.lower())))


def test_versions_compare_as_numbers() -> None:
    assert parse("2.9") < parse("2.10") < parse("3.0")


@pytest.mark.parametrize("text", ["", "2", "2.", ".1", "a.b", "2.1.1", "02.1", "2.01", "-2.1", "2.1 "])
def test_malformed_versions(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_negotiation() -> None:
    assert negotiate() == "2.1"
    assert negotiate(OpenStack_API_Version="compute 2.53") == "2.53"
    assert negotiate(OpenStack_API_Version="volume 3.50, compute 2.60") == "2.60"
    assert negotiate(OpenStack_API_Version="volume 3.50") == "2.1"
    assert negotiate(OpenStack_API_Version="compute latest") == "2.96"
    assert negotiate(X_OpenStack_Nova_API_Version="2.10") == "2.10"
    assert negotiate(X_OpenStack_Nova_API_Version="2.10", OpenStack_API_Version="compute 2.11") == "2.11"


@pytest.mark.parametrize("wanted", ["2.0", "2.97", "3.1", "1.9"])
def test_out_of_range_is_not_acceptable(wanted: str) -> None:
    with pytest.raises(NotAcceptable, match="not supported"):
        negotiate(OpenStack_API_Version=f"compute {wanted}")


@pytest.mark.parametrize("wanted", ["2", "two.one", "2.x", ""])
def test_malformed_is_a_bad_request(wanted: str) -> None:
    with pytest.raises(BadRequest, match="invalid format"):
        negotiate(OpenStack_API_Version=f"compute {wanted}")


def test_answers_name_the_version() -> None:
    assert NOVA.response_headers(parse("2.53")) == {
        "OpenStack-API-Version": "compute 2.53",
        "X-OpenStack-Nova-API-Version": "2.53",
        "Vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version",
    }


def test_windows() -> None:
    assert window("2.5", "2.9").holds(parse("2.5"))
    assert window("2.5", "2.9").holds(parse("2.9"))
    assert not window("2.5", "2.9").holds(parse("2.10"))
    assert window("2.5").overlaps(window(None, "2.5"))
    assert not window("2.5").overlaps(window(None, "2.4"))
