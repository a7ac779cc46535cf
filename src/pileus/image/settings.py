"""Settings of the image service."""

from dataclasses import dataclass, field
from pathlib import Path

from pileus.image.cache.settings import CacheSettings
from pileus.image.imports.settings import ImportSettings
from pileus.image.signatures.settings import SignatureSettings
from pileus.image.stores.settings import StoreSettings
from pileus.kernel.config import setting
from pileus.kernel.fetch import FetchSettings


@dataclass(frozen=True)
class ImageSettings:
    """`[image]`: where images are kept and how large they may be."""

    files_dir: Path = setting(Path("images"), "the directory under which file stores are")
    stores: dict[str, StoreSettings] = setting(
        {"local": StoreSettings()},
        "the stores of image data, each a section [image.stores.NAME]",
    )
    default_store: str = setting("", "the store for images that ask for none; empty: the first that takes data")
    size_limit: int = setting(1 << 40, "the largest image that may be uploaded", unit="bytes", minimum=1)
    require_image_format_match: bool = setting(
        True, "refuse data that is not of the format that its image says; hosts refuse it in any case"
    )
    staging_dir: Path = setting(
        Path("image-staging"),
        "where images' data waits to be imported; all machines that serve images or run conductors share it",
    )
    task_hours: float = setting(48.0, "how long a task is shown after it has ended", unit="hours", minimum=0)
    show_multiple_locations: bool = setting(
        False, "show in images where their data is, and let users whom the policy allows it change that"
    )
    show_image_direct_url: bool = setting(False, "show in images where their data is best read from, as direct_url")
    do_secure_hash: bool = setting(True, "hash the data of locations that are added, and verify hashes that are given")
    http_retries: int = setting(3, "how often hashing such data is tried", minimum=1)
    property_limit: int = setting(128, "custom properties that one image may have", minimum=1)
    tag_limit: int = setting(128, "tags that one image may have", minimum=1)
    location_limit: int = setting(10, "places that the data of one image may be in", minimum=1)
    member_limit: int = setting(128, "projects that one image may be shared with", minimum=1)
    use_keystone_limits: bool = setting(
        True, "keep to identity's unified limits for images (image_count_total and so on) where any are registered"
    )
    page_limit: int = setting(1000, "images on one page at most", minimum=1)
    page_default: int = setting(25, "images on a page where the caller asks for no number", minimum=1)
    property_protection_file: Path | None = setting(
        None, "who may create, read, update and delete which custom properties, in the form of Glance's file"
    )
    property_protection_rule_format: str = setting(
        "roles", "what that file names: roles, or rules of the policy", choices=("roles", "policies")
    )
    signatures: SignatureSettings = field(default_factory=SignatureSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    imports: ImportSettings = field(default_factory=ImportSettings)
    fetch: FetchSettings = field(default_factory=FetchSettings)
