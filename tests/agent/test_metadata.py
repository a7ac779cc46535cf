"""What a guest reads of itself: the trees that Nova's user guide and EC2's instance metadata document."""

import base64
import json
from typing import Any

import msgspec
import pytest

from pileus.agent.api import MetadataSpec
from pileus.agent.metadata import EC2_VERSIONS, OPENSTACK_VERSIONS, answer
from tests.agent.conftest import METADATA, SERVER

BARE = MetadataSpec(
    server_id=SERVER,
    project_id="p1",
    name="web",
    hostname="web",
    instance_type="m1.tiny",
    image_id="99999999-2222-3333-4444-555555555555",
    availability_zone="nova",
)


def text(path: str, spec: MetadataSpec = METADATA) -> str:
    found = answer(spec, path)
    assert found is not None, path
    return found[0].decode()


def lines(path: str, spec: MetadataSpec = METADATA) -> set[str]:
    return set(text(path, spec).splitlines())


def meta_data(spec: MetadataSpec = METADATA, version: str = "latest") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(f"/openstack/{version}/meta_data.json", spec))
    return found


def test_the_openstack_tree_is_novas() -> None:
    assert lines("/openstack") == set(OPENSTACK_VERSIONS)
    assert lines("/openstack/latest") == lines("/openstack/latest/") == {
        "meta_data.json", "network_data.json", "password", "user_data", "vendor_data.json", "vendor_data2.json",
    }  # fmt: skip
    assert lines("/openstack/latest", BARE) == lines("/openstack/latest") - {"user_data"}


@pytest.mark.parametrize("version", OPENSTACK_VERSIONS)
def test_meta_data_has_the_documented_keys(version: str) -> None:
    always = {
        "uuid", "name", "hostname", "launch_index", "availability_zone", "project_id", "meta", "devices",
        "dedicated_cpus", "random_seed",
    }  # fmt: skip
    document = meta_data(version=version)
    assert document.keys() == always | {"public_keys", "keys"}
    assert meta_data(BARE, version).keys() == always
    assert meta_data(msgspec.structs.replace(BARE, admin_pass="s3cret")).keys() == always | {"admin_pass"}
    assert document["uuid"] == SERVER
    assert document["meta"] == {"role": "front"}
    assert document["public_keys"] == {"mine": "ssh-ed25519 AAAA me"}
    assert document["keys"] == [{"name": "mine", "type": "ssh", "data": "ssh-ed25519 AAAA me"}]
    assert (document["launch_index"], document["hostname"]) == (2, "web.novalocal")


def test_the_random_seed_cannot_be_foretold() -> None:
    seeds = {meta_data()["random_seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert {len(base64.b64decode(seed)) for seed in seeds} == {512}


def test_user_data_and_the_other_files() -> None:
    assert answer(METADATA, "/openstack/latest/user_data") == (b"#!/bin/sh\n", "application/octet-stream")
    assert json.loads(text("/openstack/latest/vendor_data2.json")) == {"static": {}}
    empty = {"links": [], "networks": [], "services": []}
    assert json.loads(text("/openstack/latest/network_data.json", BARE)) == empty
    assert answer(METADATA, "/openstack/latest/meta_data.json?x=1") is not None


EC2_KEYS = {
    "ami-id", "ami-launch-index", "ami-manifest-path", "block-device-mapping/", "hostname", "instance-action",
    "instance-id", "instance-type", "local-hostname", "local-ipv4", "placement/", "public-hostname", "public-ipv4",
    "reservation-id", "security-groups",
}  # fmt: skip


def test_the_ec2_tree() -> None:
    assert lines("/") == set(EC2_VERSIONS)
    for version in EC2_VERSIONS:
        assert lines(f"/{version}/") == {"meta-data/", "user-data"}
        assert lines(f"/{version}/meta-data/") == EC2_KEYS | {"public-keys/"}
    assert lines("/latest", BARE) == {"meta-data/"}
    assert lines("/latest/meta-data", BARE) == EC2_KEYS
    assert lines("/latest/meta-data/public-keys/") == {"0=mine"}
    assert lines("/latest/meta-data/public-keys/0") == {"openssh-key"}
    assert text("/latest/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAA me"
    assert text("/latest/meta-data/placement/availability-zone") == "nova"
    assert text("/latest/meta-data/instance-id") == "i-11111111"
    assert text("/latest/meta-data/local-ipv4") == "10.0.0.5"
    assert text("/latest/meta-data/public-ipv4") == "203.0.113.5"
    assert lines("/latest/meta-data/security-groups") == {"default", "web"}
    assert text("/latest/user-data") == "#!/bin/sh\n"


@pytest.mark.parametrize(
    "path",
    [
        "/nope", "/openstack/2999-01-01", "/openstack/latest/nope", "/openstack/latest/meta_data.json/deeper",
        "/latest/nope", "/latest/meta-data/nope", "/latest/meta-data/hostname/deeper",
        "/latest/meta-data/public-keys/1",
        "/../etc/passwd", "/openstack/../../etc/passwd", "/openstack/latest/password/deeper",
    ],
)  # fmt: skip
def test_what_is_not_there(path: str) -> None:
    assert answer(METADATA, path) is None
