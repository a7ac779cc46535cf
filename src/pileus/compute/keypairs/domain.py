"""What a key pair is."""

import msgspec

SSH, X509 = "ssh", "x509"


class Keypair(msgspec.Struct, frozen=True):
    """A key pair's row: of the pair, only the public half is kept.

    `public_key` is an OpenSSH line, or for `x509` a PEM certificate. The order of the fields is that in which the
    store selects them.
    """

    number: int
    user_id: str
    name: str
    type: str
    fingerprint: str
    public_key: str
    created_at: int


class KeyMaterial(msgspec.Struct, frozen=True):
    """A public key with its fingerprint, and the private key (PEM) if the pair was generated here."""

    type: str
    public_key: str
    fingerprint: str
    private_key: str | None = None
