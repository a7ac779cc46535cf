"""Digests computed beside the transfer: right for every size, and bounded."""

import hashlib
import threading

import pytest

from pileus.image.data.digests import AHEAD, Digests


@pytest.mark.parametrize("chunks", [0, 1, 2, 3, 50])
def test_they_are_those_of_hashlib(chunks: int) -> None:
    data = [bytes([number]) * (100_000 + number) for number in range(chunks)]
    digests = Digests("md5", "sha512")
    for chunk in data:
        digests.update(chunk)
    digests.close()
    whole = b"".join(data)
    assert digests.hexdigest("md5") == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert digests.hexdigest("sha512") == hashlib.sha512(whole).hexdigest()


def test_threads_are_ended_and_a_small_image_needs_none() -> None:
    before = threading.active_count()
    small = Digests("md5", "sha512")
    small.update(b"all of it")
    assert threading.active_count() == before
    large = Digests("md5", "sha512")
    for _ in range(AHEAD * 4):
        large.update(bytes(1 << 20))
        assert len(large._waiting) <= AHEAD
    assert threading.active_count() == before + 2
    large.close()
    assert threading.active_count() == before
    small.close()
