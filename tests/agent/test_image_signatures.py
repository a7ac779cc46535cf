"""Signed images on a host: used only if their bytes are what was signed, also where the cache holds them already."""

from pathlib import Path

import msgspec
import pytest

from pileus.agent.api import ImageRef
from pileus.agent.errors import ImageUnusable
from pileus.kernel.signature import Signature
from tests.agent.images import CONTENT, RAW, cache_of, files, make_image, reference
from tests.signing import Signer, make_signer


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


def signed(image: ImageRef, signer: Signer, content: bytes, certificate: str = "") -> ImageRef:
    """The image with the signer's signature of `content`."""
    signature = Signature(
        signature=signer.sign(content),
        hash_method="SHA-256",
        key_type=signer.key_type,
        certificate=certificate or signer.pem,
    )
    return msgspec.structs.replace(image, signature=signature)


def test_what_was_signed_is_used_and_looked_at_once(tmp_path: Path, signer: Signer) -> None:
    cache, source = cache_of(tmp_path)
    image = signed(RAW, signer, CONTENT)
    assert cache.ensure(image).path.read_bytes() == CONTENT
    cache.ensure(image)
    assert source.fetches == ["i1"]


def test_the_signature_is_of_the_image_and_not_of_what_it_was_converted_to(tmp_path: Path, signer: Signer) -> None:
    data = make_image(tmp_path, "qcow2", CONTENT)
    cache, _ = cache_of(tmp_path / "cache", data)
    assert cache.ensure(signed(reference(data, "qcow2"), signer, data)).path.read_bytes() == CONTENT


def test_other_bytes_are_refused_and_nothing_remains(tmp_path: Path, signer: Signer) -> None:
    cache, _ = cache_of(tmp_path)
    with pytest.raises(ImageUnusable, match="not as its signer made it"):
        cache.ensure(signed(RAW, signer, CONTENT[:-1]))
    assert cache.cached() == ()
    assert files(tmp_path) == []


def test_a_cached_image_is_proven_for_each_signature(tmp_path: Path, signer: Signer) -> None:
    """That the bytes are here already says nothing of who signed them."""
    cache, source = cache_of(tmp_path)
    cache.ensure(RAW)
    image = signed(RAW, signer, CONTENT)
    cache.ensure(image)
    assert source.fetches == ["i1", "i1"]
    cache.ensure(image)
    assert source.fetches == ["i1", "i1"]
    with pytest.raises(ImageUnusable):
        cache.ensure(signed(RAW, signer, CONTENT + b"x"))
    with pytest.raises(ImageUnusable):
        cache.ensure(signed(RAW, signer, CONTENT, certificate=make_signer().pem))
    assert cache.ensure(RAW).path.read_bytes() == CONTENT


def test_proofs_outlive_the_agent(tmp_path: Path, signer: Signer) -> None:
    image = signed(RAW, signer, CONTENT)
    cache_of(tmp_path)[0].ensure(image)
    later, source = cache_of(tmp_path)
    later.ensure(image)
    assert source.fetches == []
