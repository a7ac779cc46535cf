"""The certificates of those who sign images, kept as files, and the verification of what they signed.

A certificate has an id, as a key manager gives it one, and images name it in `img_signature_certificate_uuid`.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pileus.image.signatures.settings import SignatureSettings
from pileus.kernel.clock import Clock
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.ids import is_uuid, new_uuid
from pileus.kernel.signature import (
    Signature,
    SignatureInvalid,
    Verifier,
    certificate_id,
    is_signed,
    load_certificate,
    signature_of,
)

_SUFFIX = ".pem"


class Signable(Protocol):
    """What is read of an image."""

    @property
    def id(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, str]: ...


class Certificates:
    """A directory of certificates. All machines that serve images see the same one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> str:
        """A certificate as PEM. NotFound."""
        if not is_uuid(name):
            raise NotFound(f"There is no certificate {name!r}.")
        try:
            return self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError as err:
            raise NotFound(f"There is no certificate {name}.") from err

    def add(self, text: str, name: str = "") -> str:
        """Keep a certificate (PEM); answer its id. BadRequest if it is none, Conflict if the id is taken."""
        name = name or new_uuid()
        if not is_uuid(name):
            raise BadRequest(f"The id of a certificate must be a UUID, not '{name}'.")
        try:
            load_certificate(text)
        except SignatureInvalid as err:
            raise BadRequest(f"This is no certificate in PEM form: {err}.") from err
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._directory / f".{name}.{os.getpid()}"
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(partial.unlink, missing_ok=True)
            with partial.open("w", encoding="utf-8") as out:
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            try:
                self._path(name).hardlink_to(partial)
            except FileExistsError as err:
                raise Conflict(f"There is a certificate {name} already.") from err
        return name

    def remove(self, name: str) -> None:
        """Forget a certificate: images signed with it are not taken or used any more. NotFound."""
        self.get(name)
        self._path(name).unlink(missing_ok=True)

    def all(self) -> list[tuple[str, str]]:
        """(id, PEM) of all certificates by id."""
        if not self._directory.is_dir():
            return []
        paths = sorted(path for path in self._directory.glob(f"*{_SUFFIX}") if is_uuid(path.stem))
        return [(path.stem, path.read_text(encoding="utf-8")) for path in paths]

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"


class Signatures:
    """What images claim of their signatures, with the certificates to prove it."""

    def __init__(self, settings: SignatureSettings, clock: Clock) -> None:
        self.certificates = Certificates(settings.certificates_dir)
        self._settings = settings
        self._clock = clock

    def of(self, image: Signable, trusted: Sequence[str] = ()) -> Signature | None:
        """The signature that must be verified before the image's data is used; None if it claims none.

        `trusted`: ids of certificates that a user trusts for this use; the operator's if there are none. BadRequest
        if the claim cannot be verified: a property or a certificate is missing, or the method is not known.
        """
        if not self._settings.verify or not is_signed(image.properties):
            return None
        try:
            certificate = self.certificates.get(certificate_id(image.properties))
            vouching = [self.certificates.get(name) for name in trusted or self._settings.trusted]
            return signature_of(image.properties, certificate, vouching)
        except (SignatureInvalid, NotFound) as err:
            raise BadRequest(f"The signature of image {image.id} cannot be verified: {err}") from err

    def verifier(self, image: Signable) -> Verifier | None:
        """Takes in the image's data as it arrives. BadRequest."""
        signature = self.of(image)
        if signature is None:
            return None
        try:
            return Verifier(signature, self._clock.now())
        except SignatureInvalid as err:
            raise BadRequest(f"The signature of image {image.id} cannot be verified: {err}") from err
