"""Secrets that must be kept for a while: sealed with a key of the cloud, so that the database alone tells nothing."""

import base64
import hashlib
import hmac


class Unsealable(Exception):
    """The text was not sealed with this key, or was changed since."""


class Seal:
    """Seals texts for one purpose."""

    def __init__(self, secret: str, purpose: str) -> None:
        """`secret`: the cloud's own."""
        derived = hmac.new(secret.encode(), f"seal:{purpose}".encode(), hashlib.sha256).digest()
        self._key = base64.urlsafe_b64encode(derived)

    def close(self, text: str) -> str:
        """The text, sealed: other letters each time."""
        from cryptography.fernet import Fernet  # noqa: PLC0415 - 8 MB that most processes do not need

        return Fernet(self._key).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text that was sealed. Unsealable."""
        from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415

        try:
            return Fernet(self._key).decrypt(sealed.encode()).decode()
        except InvalidToken as err:
            raise Unsealable("A sealed text cannot be opened with this cloud's secret.") from err
