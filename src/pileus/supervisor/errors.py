"""Why a cloud cannot be started or stopped. Light to import: every command knows them."""


class CannotStart(Exception):
    """The cloud cannot be started. The message says why, one reason per line."""


class CannotStop(Exception):
    """The cloud cannot be stopped now. The message says why."""
