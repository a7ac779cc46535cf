"""Signed images that are imported."""

from dataclasses import replace
from pathlib import Path

import pytest

from pileus.image.settings import ImageSettings
from pileus.image.signatures.settings import SignatureSettings
from pileus.kernel.db import Database
from tests.image.conftest import make_api
from tests.image.imports.conftest import Importer
from tests.signing import make_signer

DATA = b"an image's bytes" * 1000


@pytest.mark.parametrize("data", [DATA, DATA + b"!"])
def test_only_what_was_signed_is_imported(sqlite: Database, tmp_path: Path, data: bytes) -> None:
    settings = SignatureSettings(certificates_dir=tmp_path / "certificates")
    importer = Importer(make_api(sqlite, tmp_path, replace(ImageSettings(), signatures=settings)))
    signer = make_signer()
    certificate = importer.api.images.signatures.certificates.add(signer.pem)
    image = importer.api.create(**signer.properties(DATA, certificate))
    assert importer.stage(image, data).status_code == 204
    assert importer.ask(image).status_code == 202
    importer.run()
    (task,) = importer.tasks(image)
    if data == DATA:
        assert (importer.api.show(image)["status"], task["status"]) == ("active", "success")
    else:
        assert (importer.api.show(image)["status"], task["status"]) == ("queued", "failure")
        assert "signature" in task["message"]
        assert importer.kept() == {"local": ()}
