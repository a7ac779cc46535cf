"""Receipts: what a user gets who has proved a part of what the rules ask for, to go on from there.

A receipt is encrypted like a token, with keys of its own, so that neither is ever taken for the other.
"""

import msgspec

from pileus.identity.domain import Project, User
from pileus.identity.fernet import pack_id, pack_methods, unpack_id, unpack_methods
from pileus.identity.keys import KeyRepository
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.errors import Unauthorized

_FORMAT = 1
_MAX_RECEIPT = 2048


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The methods that a user has logged in with. Times in microseconds, whole seconds."""

    user_id: str
    user_epoch: int
    methods: tuple[str, ...]
    issued_at: int
    expires_at: int


class InsufficientMethods(Unauthorized):
    """The rules ask for more methods. `text`: the receipt, as it is to be sent along the next time."""

    def __init__(
        self, receipt: Receipt, text: str, user: User, domain: Project, rules: tuple[tuple[str, ...], ...]
    ) -> None:
        super().__init__("More authentication methods are required.")
        self.receipt = receipt
        self.text = text
        self.user = user
        self.domain = domain
        self.rules = rules


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    format: int
    user: bytes
    user_epoch: int
    methods: int
    issued_at: int
    expires_at: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


class Receipts:
    """Issues and verifies receipts. Thread-safe."""

    def __init__(self, settings: IdentitySettings, clock: Clock) -> None:
        self._keys = KeyRepository(settings.receipt_keys)
        self._lifetime = settings.receipt_lifetime
        self._clock = clock

    def issue(self, user: User, methods: tuple[str, ...]) -> tuple[Receipt, str]:
        """A receipt, and how it is sent."""
        now = self._clock.now() // MICROSECONDS
        ends = now + self._lifetime
        packed = _Packed(_FORMAT, pack_id(user.id), user.epoch, pack_methods(methods), now, ends)
        text = self._keys.encrypt(_encoder.encode(packed), now).rstrip(b"=").decode()
        return _receipt(packed), text

    def verify(self, text: str, user: User) -> Receipt:
        """The receipt. Unauthorized if it is not ours, has ended, or is for another user or an older password."""
        receipt = self._opened(text)
        if receipt is None or receipt.expires_at <= self._clock.now():
            raise Unauthorized("The authentication receipt is not valid, or no longer.")
        if (receipt.user_id, receipt.user_epoch) != (user.id, user.epoch):
            raise Unauthorized("The authentication receipt is not this user's.")
        return receipt

    def _opened(self, text: str) -> Receipt | None:
        if len(text) > _MAX_RECEIPT or not text.isascii():
            return None
        data = self._keys.decrypt((text + "=" * (-len(text) % 4)).encode())
        if data is None:
            return None
        try:
            packed = _decoder.decode(data)
        except msgspec.MsgspecError:
            return None
        return _receipt(packed) if packed.format == _FORMAT else None


def _receipt(packed: _Packed) -> Receipt:
    return Receipt(
        user_id=unpack_id(packed.user),
        user_epoch=packed.user_epoch,
        methods=unpack_methods(packed.methods),
        issued_at=packed.issued_at * MICROSECONDS,
        expires_at=packed.expires_at * MICROSECONDS,
    )
