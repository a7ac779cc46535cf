"""Signed images: what is taken, what is refused, and the certificates that decide it."""

from dataclasses import replace
from pathlib import Path

import pytest

from pileus.image.settings import ImageSettings
from pileus.image.signatures.service import Certificates
from pileus.image.signatures.settings import SignatureSettings
from pileus.kernel.db import Database
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.signature import CERTIFICATE, SIGNATURE
from tests.image.conftest import Api, make_api
from tests.signing import Signer, make_signer

DATA = b"an image's bytes" * 10_000


@pytest.fixture
def signed(sqlite: Database, tmp_path: Path) -> Api:
    settings = SignatureSettings(certificates_dir=tmp_path / "certificates")
    return make_api(sqlite, tmp_path, replace(ImageSettings(), signatures=settings))


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


def test_what_was_signed_is_taken(signed: Api, signer: Signer) -> None:
    certificate = signed.images.signatures.certificates.add(signer.pem)
    image_id = signed.create(**signer.properties(DATA, certificate))
    assert signed.upload(image_id, DATA).status_code == 204
    assert signed.show(image_id)["status"] == "active"


def test_other_data_is_refused_and_nothing_remains(signed: Api, signer: Signer) -> None:
    certificate = signed.images.signatures.certificates.add(signer.pem)
    image_id = signed.create(**signer.properties(DATA, certificate))
    refused = signed.upload(image_id, DATA + b"!")
    assert refused.status_code == 400
    assert "signature" in refused.json["message"]
    assert signed.show(image_id)["status"] == "queued"
    assert signed.stores.default.images() == ()
    assert signed.upload(image_id, DATA).status_code == 204


def test_a_certificate_that_nobody_knows(signed: Api, signer: Signer) -> None:
    image_id = signed.create(**signer.properties(DATA, "11111111-2222-4333-8444-555555555555"))
    refused = signed.upload(image_id, DATA)
    assert refused.status_code == 400
    assert "There is no certificate" in refused.json["message"]
    climbing = signed.create(**signer.properties(DATA, "../../etc/passwd"))
    assert signed.upload(climbing, DATA).status_code == 400


def test_half_a_signature_is_refused(signed: Api, signer: Signer) -> None:
    properties = signer.properties(DATA, signed.images.signatures.certificates.add(signer.pem))
    del properties[CERTIFICATE]
    refused = signed.upload(signed.create(**properties), DATA)
    assert refused.status_code == 400
    assert CERTIFICATE in refused.json["message"]


def test_only_signers_that_the_operator_trusts(sqlite: Database, tmp_path: Path) -> None:
    directory = tmp_path / "certificates"
    root = make_signer(name="root", ca=True)
    known, stranger = make_signer(issuer=root), make_signer(name="stranger")
    certificates = Certificates(directory)
    trusted = certificates.add(root.pem)
    settings = SignatureSettings(certificates_dir=directory, trusted=(trusted,))
    api = make_api(sqlite, tmp_path, replace(ImageSettings(), signatures=settings))
    taken = api.create(**known.properties(DATA, certificates.add(known.pem)))
    assert api.upload(taken, DATA).status_code == 204
    refused = api.create(**stranger.properties(DATA, certificates.add(stranger.pem)))
    assert api.upload(refused, DATA).status_code == 400


def test_verification_can_be_switched_off(sqlite: Database, tmp_path: Path) -> None:
    settings = SignatureSettings(verify=False, certificates_dir=tmp_path / "certificates")
    api = make_api(sqlite, tmp_path, replace(ImageSettings(), signatures=settings))
    assert api.upload(api.create(**{SIGNATURE: "anything"}), DATA).status_code == 204


def test_certificates_are_kept_by_id(tmp_path: Path, signer: Signer) -> None:
    certificates = Certificates(tmp_path / "certificates")
    assert certificates.all() == []
    name = certificates.add(signer.pem)
    assert certificates.get(name) == signer.pem
    assert certificates.all() == [(name, signer.pem)]
    with pytest.raises(Conflict):
        certificates.add(signer.pem, name)
    with pytest.raises(BadRequest, match="no certificate"):
        certificates.add("nonsense")
    with pytest.raises(BadRequest, match="UUID"):
        certificates.add(signer.pem, "../x")
    certificates.remove(name)
    with pytest.raises(NotFound):
        certificates.get(name)
    assert list((tmp_path / "certificates").iterdir()) == []
