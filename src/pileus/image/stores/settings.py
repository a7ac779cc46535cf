"""Settings of one store of image data."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting

KINDS = ("file", "http", "s3", "rbd")


@dataclass(frozen=True)
class StoreSettings:
    """`[image.stores.NAME]`: one place where images are kept."""

    kind: str = setting("file", "what the store is; http only reads what is elsewhere", choices=KINDS)
    description: str = setting("", "what users are told of it")
    weight: int = setting(0, "of several stores that hold an image, the heaviest is read from first")

    directory: Path = setting(Path(), "kind file: where the files are; a relative path is one under image.files_dir")
    mounted: bool = setting(
        False, "kind file: the directory is a mount point; the store is not there without the mount"
    )
    layout: str = setting(
        "id", "kind file: one file for each image, or one for each content that images share", choices=("id", "content")
    )
    reserve: int = setting(0, "kind file: space that images leave free on the disk", unit="bytes", minimum=0)

    s3_endpoint: str = setting(
        "", "kind s3: the server's address; empty: Amazon's of the region", pattern="(https?://.*)?"
    )
    s3_region: str = setting("us-east-1", "kind s3: the region")
    s3_bucket: str = setting("", "kind s3: the bucket, which must exist")
    s3_prefix: str = setting("", "kind s3: what the names of all objects begin with", pattern="[A-Za-z0-9!_.*'()/-]*")
    s3_access_key: str = setting("", "kind s3: the access key's id; empty: what the machine's role gives")
    s3_secret_key: str = setting("", "kind s3: the access key", secret=True)
    s3_path_style: bool = setting(True, "kind s3: the bucket is in the path of URLs, not in the name of the host")
    s3_ca_file: Path = setting(Path(), "kind s3: certificates (PEM) that the server is verified with; empty: the usual")
    s3_part_size: int = setting(
        16, "kind s3: size of the parts in which data is sent; it grows for very large images", unit="MiB", minimum=5
    )

    rbd_pool: str = setting("images", "kind rbd: the pool")
    rbd_user: str = setting("glance", "kind rbd: the Ceph user, without 'client.'")
    rbd_conf: Path = setting(Path("/etc/ceph/ceph.conf"), "kind rbd: Ceph's configuration file")
    rbd_timeout: int = setting(10, "kind rbd: how long reaching the cluster may take", unit="seconds", minimum=1)
    rbd_object_size: int = setting(
        8, "kind rbd: size of the objects that an image is cut into, a power of two", unit="MiB", minimum=1
    )
