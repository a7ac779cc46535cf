"""Key pairs through the API."""

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pileus.compute.keypairs import keys
from pileus.compute.keypairs.domain import X509
from pileus.compute.settings import ComputeSettings
from pileus.kernel.db import Database
from tests.compute_admin.world import LATEST, STRANGER, USER, World


def line(key: Any) -> str:
    """A private key's public half as OpenSSH writes it."""
    encoded: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


# The fingerprint is what `ssh-keygen -E md5 -l` prints.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIRAu55ruLLMkmf6i+PtctNHD8K9qKd7R6BU/HOjmuf7 me@home"
FINGERPRINT = "c1:18:ed:34:07:d6:f0:9c:ba:fb:ca:28:36:e6:d5:8e"


def make(world: World, name: str = "k", as_: str = "member", **fields: Any) -> dict[str, Any]:
    """An imported key pair, as the answer to its making shows it."""
    body = {"keypair": {"name": name, "public_key": KEY, **fields}}
    made: dict[str, Any] = world.call("POST", "/os-keypairs", body, as_=as_, code=201)["keypair"]
    return made


def names(world: World, query: str = "", **how: Any) -> list[str]:
    """The names of a list."""
    listed = world.call("GET", f"/os-keypairs{query}", **how)["keypairs"]
    return [one["keypair"]["name"] for one in listed]


def test_a_key_pair_in_each_version(worlds: World) -> None:
    brief = {"name": "k", "public_key": KEY, "fingerprint": FINGERPRINT}
    body = {"keypair": {"name": "k", "public_key": f"  {KEY}\n"}}
    made = worlds.call("POST", "/os-keypairs", body, as_="member", version="2.1", code=200)["keypair"]
    assert made == brief | {"user_id": USER}
    shown = worlds.call("GET", "/os-keypairs/k", as_="member", version="2.1")["keypair"]
    number = shown.pop("id")
    assert isinstance(number, int)
    assert shown == brief | {
        "user_id": USER,
        "created_at": "2023-11-14T22:13:20.000000",
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }
    assert worlds.call("GET", "/os-keypairs", as_="member", version="2.1") == {"keypairs": [{"keypair": brief}]}
    typed = worlds.call("GET", "/os-keypairs", as_="member", version="2.2")["keypairs"][0]["keypair"]
    assert typed == brief | {"type": "ssh"}
    worlds.call("DELETE", "/os-keypairs/k", as_="member", version="2.1", code=202)
    assert make(worlds) == brief | {"user_id": USER, "type": "ssh"}
    worlds.call("DELETE", "/os-keypairs/k", as_="member", code=204)
    worlds.call("DELETE", "/os-keypairs/k", as_="member", code=404)
    worlds.call("GET", "/os-keypairs/k", as_="member", code=404)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1()),
            ed25519.Ed25519PrivateKey.generate()],
)  # fmt: skip
def test_keys_of_all_kinds(world: World, key: Any) -> None:
    assert make(world, public_key=line(key))["public_key"] == line(key)


def test_old_versions_generate_pairs(world: World) -> None:
    body = {"keypair": {"name": "g", "type": "ssh"}}
    made = world.call("POST", "/os-keypairs", body, as_="member", version="2.91", code=201)["keypair"]
    private = serialization.load_pem_private_key(made["private_key"].encode(), None)
    assert line(private) == made["public_key"].rpartition(" ")[0]
    shown = world.call("GET", "/os-keypairs/g", as_="member")["keypair"]
    assert shown["fingerprint"] == made["fingerprint"]
    assert "private_key" not in shown
    world.call("POST", "/os-keypairs", body, as_="member", version="2.92", code=400)


def test_certificates(world: World) -> None:
    body = {"keypair": {"name": "g", "type": "x509"}}
    made = world.call("POST", "/os-keypairs", body, as_="member", version="2.2", code=201)["keypair"]
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    private = serialization.load_pem_private_key(made["private_key"].encode(), None)
    assert private.public_key() == certificate.public_key()
    digest = hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER), usedforsecurity=False).hexdigest()
    assert made["fingerprint"].replace(":", "") == digest
    again = make(world, "again", type="x509", public_key=made["public_key"])
    assert (again["type"], again["fingerprint"]) == ("x509", made["fingerprint"])
    world.call(
        "POST", "/os-keypairs", {"keypair": {"name": "bad", "type": "x509", "public_key": KEY}}, as_="member", code=400
    )


@pytest.mark.parametrize(
    "public_key",
    [
        "", " ", "JUNK", "ssh-rsa", "ssh-rsa JUNK nova@ubuntu", "ssh-rsa " + "A" * 2048 + " openstack@ubuntu",
        "ssh-rsa " + KEY.split()[1], f"{KEY}\n{KEY}", f"{KEY}\ncommand=x", KEY.replace("IIRA", "IIR\x00"), "A" * 16385,
        f'command="id" {KEY}', "ssh-ed25519 é", "ssh-dss AAAAB3NzaC1kc3M=", None, 5, KEY.replace(" me", "\x0bme"),
    ],
)  # fmt: skip
def test_what_is_no_key(world: World, public_key: Any) -> None:
    body = {"keypair": {"name": "k", "public_key": public_key}}
    assert world.call("POST", "/os-keypairs", body, as_="member", code=400)["badRequest"]["code"] == 400
    assert names(world, as_="member") == []


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("a b_c-9", "2.2", 201), ("a b_c-9", LATEST, 201), ("me@home.org", "2.92", 201), ("n" * 255, LATEST, 201),
        ("me@home.org", "2.91", 400), (r"key_/.\@:", "2.1", 400), (r"key_/.\@:", LATEST, 400), ("", LATEST, 400),
        (" a", LATEST, 400), ("a ", LATEST, 400), ("a\n", LATEST, 400), ("n" * 256, LATEST, 400), ("é", LATEST, 400),
        (None, LATEST, 400), (5, LATEST, 400),
    ],
)  # fmt: skip
def test_names(world: World, name: Any, version: str, code: int) -> None:
    body = {"keypair": {"name": name, "public_key": KEY}}
    world.call("POST", "/os-keypairs", body, as_="member", version=version, code=code)
    assert (name in names(world, as_="member")) == (code == 201)


@pytest.mark.parametrize(
    ("fields", "version"),
    [({"type": "ssh"}, "2.1"), ({"user_id": USER}, "2.9"), ({"type": "pgp"}, "2.2"), ({"colour": "red"}, "2.1")],
)
def test_fields_that_a_version_does_not_have(world: World, fields: dict[str, str], version: str) -> None:
    body = {"keypair": {"name": "k", "public_key": KEY, **fields}}
    world.call("POST", "/os-keypairs", body, as_="member", version=version, code=400)


def test_a_name_is_taken_once_by_each_user(worlds: World) -> None:
    make(worlds)
    body = {"keypair": {"name": "k", "public_key": KEY}}
    refusal = worlds.call("POST", "/os-keypairs", body, as_="member", code=409)
    assert refusal["conflictingRequest"]["message"] == "Key pair 'k' already exists."
    make(worlds, "K")
    make(worlds, as_="stranger")


def test_key_pairs_of_others(worlds: World) -> None:
    make(worlds)
    worlds.call("GET", "/os-keypairs/k", as_="stranger", code=404)
    worlds.call("DELETE", "/os-keypairs/k", as_="stranger", code=404)
    for method, path in (("GET", "/os-keypairs"), ("GET", "/os-keypairs/k"), ("DELETE", "/os-keypairs/k")):
        worlds.call(method, f"{path}?user_id={USER}", as_="stranger", code=403)
    body = {"keypair": {"name": "mine", "public_key": KEY, "user_id": USER}}
    worlds.call("POST", "/os-keypairs", body, as_="stranger", code=403)
    assert names(worlds, as_="member") == ["k"]
    assert names(worlds, f"?user_id={USER}", as_="stranger", version="2.9") == []


def test_administrators_manage_key_pairs_of_others(world: World) -> None:
    assert make(world, as_="admin", user_id=STRANGER)["user_id"] == STRANGER
    assert names(world) == []
    assert names(world, f"?user_id={STRANGER}") == ["k"]
    assert world.call("GET", f"/os-keypairs/k?user_id={STRANGER}")["keypair"]["user_id"] == STRANGER
    world.call("DELETE", f"/os-keypairs/k?user_id={STRANGER}", code=204)
    assert names(world, as_="stranger") == []
    too_long = {"keypair": {"name": "k", "public_key": KEY, "user_id": "u" * 65}}
    world.call("POST", "/os-keypairs", too_long, code=400)


def test_pages_from_2_35(worlds: World) -> None:
    for name in ("c", "a", "d", "b"):
        make(worlds, name)
    first = worlds.call("GET", "/os-keypairs?limit=2", as_="member", version="2.35")
    assert [one["keypair"]["name"] for one in first["keypairs"]] == ["a", "b"]
    assert first["keypairs_links"][0]["href"].endswith("/os-keypairs?limit=2&marker=b")
    assert names(worlds, "?limit=2&marker=b", as_="member") == ["c", "d"]
    assert names(worlds, "?limit=0", as_="member") == []
    assert names(worlds, "?limit=1", as_="member", version="2.34") == ["a", "b", "c", "d"]
    for query in ("limit=-1", "limit=x", "marker=none", "colour=red"):
        worlds.call("GET", f"/os-keypairs?{query}", as_="member", code=400)


def test_the_quota_counts_by_user(database: Database) -> None:
    world = World(database, ComputeSettings(quota_key_pairs=2))
    make(world, "a")
    make(world, "b")
    body = {"keypair": {"name": "c", "public_key": KEY}}
    refusal = world.call("POST", "/os-keypairs", body, as_="member", code=403)
    assert refusal["forbidden"]["message"] == "Quota exceeded, too many key pairs."
    make(world, "c", as_="stranger")
    world.call("DELETE", "/os-keypairs/a", as_="member", code=204)
    make(world, "c")


def test_the_private_half_of_a_certificate_is_pkcs8() -> None:
    material = keys.generated(X509, USER)
    assert material.private_key is not None
    assert material.private_key.startswith("-----BEGIN PRIVATE KEY-----")
