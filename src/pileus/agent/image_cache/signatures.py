"""Signed images are used only if their bytes are what was signed. The image service looks when they are uploaded, and
the host once more, so that nobody in between can change them."""

from pathlib import Path

from pileus.agent.api import ImageRef
from pileus.agent.errors import ImageUnusable
from pileus.kernel.signature import SignatureInvalid, Verifier

CHUNK = 1 << 20


def verify(image: ImageRef, path: Path, now: int) -> tuple[str, ...]:
    """Verify a downloaded image, if it is signed; what was verified, for its record. ImageUnusable."""
    if image.signature is None:
        return ()
    try:
        verifier = Verifier(image.signature, now)
        with path.open("rb", buffering=0) as source:
            while chunk := source.read(CHUNK):
                verifier.update(chunk)
        verifier.verify()
    except SignatureInvalid as err:
        raise ImageUnusable(f"image {image.id} is not as its signer made it: {err}") from err
    return (image.signature.identity(),)
