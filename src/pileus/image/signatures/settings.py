"""Settings of signed images."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting


@dataclass(frozen=True)
class SignatureSettings:
    """`[image.signatures]`: signed images and the certificates of their signers."""

    verify: bool = setting(True, "images that say they are signed are taken, and used by hosts, only if it is true")
    certificates_dir: Path = setting(Path("certificates"), "signers' certificates: files <id>.pem")
    trusted: tuple[str, ...] = setting(
        (), "ids of certificates that must have issued a signer's; empty: any certificate of the directory is trusted"
    )
