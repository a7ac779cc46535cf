"""The rules about passwords and accounts of `[identity.security_compliance]`, without a database.

They are Keystone's. What they say depends on the settings, a user's options and the present instant alone.
"""

import hashlib
import re

import msgspec

from pileus.identity.domain import User
from pileus.identity.settings import SecurityComplianceSettings
from pileus.kernel.clock import MICROSECONDS
from pileus.kernel.config import SettingsError
from pileus.kernel.errors import BadRequest

DAY = 86400 * MICROSECONDS
_SECTION = "identity.security_compliance"
_DECOY_DIGITS = 3  # 4096 rows at most for all names that nobody has


class StoredPassword(msgspec.Struct, frozen=True):
    """A password as it is stored. Never to be logged."""

    hash: str
    created_at: int
    self_service: bool


class Failures(msgspec.Struct, frozen=True):
    """Wrong passwords in a row, and when the last one came that counted."""

    count: int
    failed_at: int


class Compliance:
    """The rules, as a site has set them. SettingsError if the settings contradict themselves."""

    def __init__(self, settings: SecurityComplianceSettings) -> None:
        self._settings = settings
        try:
            self._pattern = re.compile(settings.password_regex)
        except re.error as err:
            raise SettingsError([f"{_SECTION}.password_regex is no regular expression: {err}"]) from err
        if settings.minimum_password_age and 0 < settings.password_expires_days <= settings.minimum_password_age:
            raise SettingsError([f"{_SECTION}.minimum_password_age must be less than password_expires_days"])

    # --- passwords -------------------------------------------------------------------------------------------

    @property
    def remembered(self) -> int:
        """How many passwords of a user are kept, the present one included."""
        return max(1, self._settings.unique_last_password_count)

    @property
    def compared(self) -> int:
        """From how many of them a new password must differ."""
        return self._settings.unique_last_password_count

    def require_strong(self, password: str) -> None:
        """BadRequest unless the expression matches."""
        if self._pattern.match(password) is None:
            why = self._settings.password_regex_description or self._settings.password_regex
            raise BadRequest(f"The password does not match the requirements: {why}.")

    def refuse_repetition(self) -> BadRequest:
        """The error for a password that the user had before."""
        return BadRequest(
            "The new password cannot be identical to a previous password. The total number which includes the new"
            f" password must be unique is {self._settings.unique_last_password_count}."
        )

    def require_old_enough(self, present: StoredPassword, now: int) -> None:
        """BadRequest if the user chose the present password too short a time ago to choose another."""
        least = self._settings.minimum_password_age
        left = present.created_at + least * DAY - now
        if least and present.self_service and left > 0:
            raise BadRequest(
                "You cannot change your password at this time due to the minimum password age. Once you change your"
                f" password, it must be used for {least} day(s) before it can be changed. Please try again in"
                f" {-(-left // DAY)} day(s) or contact your administrator to reset your password."
            )

    def expiry(self, user: User, now: int, *, self_service: bool) -> int | None:
        """When a password that is set now expires; None: never. An administrator's may expire at once."""
        options = user.options
        if (
            self._settings.change_password_upon_first_use
            and not self_service
            and not options.get("ignore_change_password_upon_first_use")
        ):
            return now
        days = self._settings.password_expires_days
        if not days or options.get("ignore_password_expiry"):
            return None
        return (now + days * DAY) // MICROSECONDS * MICROSECONDS

    @staticmethod
    def has_expired(user: User, now: int) -> bool:
        """Whether the user's password only serves to choose another one."""
        expires_at = user.password_expires_at
        return expires_at is not None and expires_at <= now and not user.options.get("ignore_password_expiry")

    # --- wrong passwords -------------------------------------------------------------------------------------

    @property
    def counts_failures(self) -> bool:
        """Whether wrong passwords matter at all."""
        return self._settings.lockout_failure_attempts > 0

    def is_locked(self, user: User | None, failures: Failures | None, now: int) -> bool:
        """Whether too many wrong passwords came for the account."""
        if failures is None or failures.count < self._settings.lockout_failure_attempts:
            return False
        if user is not None and user.options.get("ignore_lockout_failure_attempts"):
            return False
        return not self._is_over(failures, now)

    def _is_over(self, failures: Failures, now: int) -> bool:
        duration = self._settings.lockout_duration * MICROSECONDS
        return duration > 0 and failures.failed_at + duration <= now

    def one_more(self, failures: Failures | None, now: int) -> Failures:
        """The count after another wrong password. A lock neither grows by further attempts nor lasts longer."""
        if failures is None:
            return Failures(1, now)
        if failures.count < self._settings.lockout_failure_attempts:
            return Failures(failures.count + 1, now)
        return Failures(1, now) if self._is_over(failures, now) else failures

    # --- inactivity ------------------------------------------------------------------------------------------

    @property
    def idle_limit(self) -> int:
        """After how many days without a login a user is disabled; 0: never."""
        return self._settings.disable_user_account_days_inactive

    def active_since(self, now: int) -> int:
        """Whoever was last active before this instant is disabled. Days begin at midnight, UTC."""
        return (now // DAY - self.idle_limit + 1) * DAY

    def seen(self, user: User, enabled: bool, now: int) -> User:
        """The user, not enabled if it has been inactive for too long (`enabled`: its own flag)."""
        idle = bool(self.idle_limit) and user.last_active_at is not None
        if enabled and idle and (user.last_active_at or 0) < self.active_since(now):
            return msgspec.structs.replace(user, enabled=False)
        return user

    def activity(self, user: User, now: int) -> int | None:
        """The column `last_active_at` of a user that is active now: NULL for those that cannot become inactive."""
        return None if user.options.get("ignore_user_inactivity") else now

    def has_news(self, user: User, now: int) -> bool:
        """Whether a login now is worth noting: the first of a day."""
        if not self.idle_limit:
            return False
        noted = user.last_active_at
        if user.options.get("ignore_user_inactivity"):
            return noted is not None
        return noted is None or noted // DAY < now // DAY


def passcodes_of(account: str) -> str:
    """The account under which a user's wrong passcodes count: a right password must not make them forgotten."""
    return decoy("totp", account)


def decoy(*what: str) -> str:
    """The account whose wrong passwords stand for those of a name that nobody has."""
    digest = hashlib.sha256("\0".join(what).encode("utf-8", "surrogatepass")).hexdigest()
    return f"?{digest[:_DECOY_DIGITS]}"
