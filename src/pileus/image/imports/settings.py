"""Settings of image import."""

from dataclasses import dataclass

from pileus.kernel.config import setting

METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")


@dataclass(frozen=True)
class ImportSettings:
    """`[image.imports]`: how images are imported, and what is done to them on the way."""

    methods: tuple[str, ...] = setting(METHODS, "the methods that users may choose", choices=METHODS)
    at_once: int = setting(4, "imports that one conductor works on at the same time; others wait", minimum=1)
    attempts: int = setting(4, "how often a download that breaks off is taken up again", minimum=1)
    convert_to: str = setting(
        "", "the disk format that images are converted to; empty: none is", choices=("", "raw", "qcow2")
    )
    convert_seconds: int = setting(3600, "how long a conversion may take", unit="seconds", minimum=1)
    convert_memory: int = setting(2 << 30, "how much memory a conversion may take", unit="bytes", minimum=1 << 26)
    decompress: bool = setting(False, "unpack images that are compressed with gzip, bzip2, xz or zip")
    decompressed_limit: int = setting(
        64 << 30, "the largest image that a compressed one may unpack to", unit="bytes", minimum=1
    )
    inject: dict[str, str] = setting({}, "custom properties that every imported image is given")
    inject_ignore_roles: tuple[str, ...] = setting(("admin",), "roles whose imports are not given them")
    download_properties: tuple[str, ...] = setting(
        ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type"),
        "how the names of custom properties begin that glance-download takes over from the image in the other region",
    )
