"""Passcodes: the method totp."""

import hmac

import msgspec

from pileus.identity.credentials.service import Credentials
from pileus.identity.multifactor import store, totp
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx

TOTP = "totp"


class Match(msgspec.Struct, frozen=True):
    """A passcode that fits: by which credential, and the step that it is for."""

    credential_id: str
    step: int


class Passcodes:
    """Checks passcodes against the credentials of type totp that users have."""

    def __init__(self, settings: IdentitySettings, clock: Clock, credentials: Credentials) -> None:
        self._previous = settings.totp_previous_windows
        self._clock = clock
        self._credentials = credentials

    def find(self, tx: Tx, user_id: str, passcode: str) -> Match | None:
        """Which of a user's credentials gives this passcode now, or gave it a few windows ago."""
        now = self._clock.now() // MICROSECONDS // totp.STEP_SECONDS
        sent = passcode.encode()
        match = None
        for credential in self._credentials.of_type(tx, user_id, TOTP):
            secret = totp.secret_of(credential.blob)
            if secret is None:
                continue
            for step in range(now - self._previous, now + 1):
                if hmac.compare_digest(totp.passcode(secret, step).encode(), sent):
                    match = Match(credential.id, step)
        return match

    def take(self, tx: Tx, match: Match) -> bool:
        """Take a passcode, once: False for one that was taken before, or is older than one that was."""
        return store.take(tx, match.credential_id, match.step)
