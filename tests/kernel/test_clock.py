"""Instants and how OpenStack's services write them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.kernel.clock import (
    MICROSECONDS,
    FakeClock,
    SystemClock,
    iso,
    iso_micro,
    iso_micro_z,
    parse_iso,
)
from pileus.kernel.ids import is_request_id, is_uuid, new_hex, new_request_id, new_uuid

INSTANT = 1_795_255_200 * MICROSECONDS + 42
LAST = 253_402_300_799 * MICROSECONDS  # 9999-12-31T23:59:59Z


def test_the_forms() -> None:
    assert iso(INSTANT) == "2026-11-21T10:00:00Z"
    assert iso_micro(INSTANT) == "2026-11-21T10:00:00.000042"
    assert iso_micro_z(INSTANT) == "2026-11-21T10:00:00.000042Z"
    assert iso(None) is iso_micro(None) is iso_micro_z(None) is None
    assert iso(0) == "1970-01-01T00:00:00Z"


@given(st.integers(0, LAST))
def test_what_is_written_is_read(instant: int) -> None:
    assert parse_iso(iso_micro_z(instant) or "") == parse_iso(iso_micro(instant) or "") == instant
    assert parse_iso(iso(instant) or "") == instant - instant % MICROSECONDS


def test_zones() -> None:
    assert parse_iso("2026-11-21T12:00:00+02:00") == parse_iso("2026-11-21T10:00:00Z") == INSTANT - 42
    for nonsense in ("", "yesterday", "2026-13-01T00:00:00", "10:00"):
        with pytest.raises(ValueError, match=r".*"):
            parse_iso(nonsense)


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(INSTANT)
    assert (clock.now(), clock.now()) == (INSTANT, INSTANT)
    before = clock.monotonic()
    clock.sleep(1.5)
    clock.advance(0.25)
    assert clock.now() == INSTANT + 1_750_000
    assert clock.monotonic() - before == pytest.approx(1.75)


def test_the_machines_clock() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time() * MICROSECONDS) < 5 * MICROSECONDS
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_identifiers() -> None:
    assert len({new_uuid() for _ in range(100)} | {new_hex() for _ in range(100)}) == 200
    assert is_uuid(new_uuid())
    assert is_uuid(new_hex())
    assert is_request_id(new_request_id())
    assert (len(new_uuid()), len(new_hex()), new_request_id()[:4]) == (36, 32, "req-")
    for other in ("", "x", "{" + new_uuid() + "}", "urn:uuid:" + new_uuid(), new_uuid()[:-1], new_uuid() + "\n"):
        assert not is_uuid(other), other
        assert not is_request_id("req-" + other), other
    assert not is_request_id("req-" + new_hex())
