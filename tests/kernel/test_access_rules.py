"""Access rules: what a pattern lets through, and that no pattern is slow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.kernel.access_rules import AccessRule


def allows(pattern: str, path: str) -> bool:
    return AccessRule("compute", "GET", pattern).allows(("compute",), "GET", path)


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/v2.1/servers", "/v2.1/servers", True),
        ("/v2.1/servers", "/v2x1/servers", False),
        ("/v2.1/servers", "/v2.1/servers/1", False),
        ("/v2.1/servers", "/compute/v2.1/servers", False),
        ("/v2.1/servers/*", "/v2.1/servers/1", True),
        ("/v2.1/servers/*", "/v2.1/servers/", False),
        ("/v2.1/servers/*", "/v2.1/servers/1/ips", False),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/1/ips", True),
        ("/v2.1/servers/*/ips", "/v2.1/servers/1/2/ips", False),
        ("/v2.1/a*c/*", "/v2.1/abc/d", True),
        ("/v2.1/a*c", "/v2.1/ac", False),
        ("/v2.1/**", "/v2.1/", True),
        ("/v2.1/**", "/v2.1/servers/1/ips", True),
        ("/v2.1/**", "/v3/servers", False),
        ("**/ips", "/v2.1/servers/1/ips", True),
        ("/v2.1****ips", "/v2.1/servers/1/ips", True),
        ("/{unclosed", "/{unclosed", True),
        ("/{unclosed", "/x", False),
        ("/[a]", "/a", False),
    ],
)
def test_patterns(pattern: str, path: str, allowed: bool) -> None:
    assert allows(pattern, path) is allowed


def test_service_and_method_must_be_the_rules() -> None:
    rule = AccessRule("image", "GET", "/v2/images")
    assert rule.allows(("image", "glance"), "GET", "/v2/images")
    assert not rule.allows(("image",), "POST", "/v2/images")
    assert not rule.allows(("compute",), "GET", "/v2/images")


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "{x}", "."]), max_size=8).map("".join),
    st.text(alphabet="ab/.", max_size=10),
)
def test_patterns_mean_what_their_regular_expression_means(pattern: str, path: str) -> None:
    parts = re.findall(r"\*\*+|\*|\{[^{}]*\}|.", pattern)
    wild = {"*": "[^/]+", "{x}": "[^/]+"}
    expression = "".join(".*" if part.startswith("**") else wild.get(part, re.escape(part)) for part in parts)
    assert allows(pattern, path) == bool(re.fullmatch(expression, path))


def test_a_pattern_made_to_be_slow_is_not() -> None:
    """As a regular expression this one would take longer than anybody lives."""
    assert not allows("/" + "**a" * 70, "/" + "a" * 69 + "b" * 4000)
    assert not allows("/" + "*a" * 100 + "b", "/" + "a" * 4000)
