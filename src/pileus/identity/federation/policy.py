"""Rules of federation: Keystone's names and present defaults."""

from pileus.kernel.policy import Rule

_ADMIN = "rule:admin_required"
_SEES_ALL = "rule:admin_required or (role:reader and system_scope:all)"
_NOUNS = (
    ("identity_provider", "an identity provider"),
    ("protocol", "a protocol of an identity provider"),
    ("mapping", "a mapping"),
    ("service_provider", "a service provider"),
)

RULES: tuple[Rule, ...] = tuple(
    Rule(f"identity:{verb}_{noun}{'s' if verb == 'list' else ''}", check, f"{words} {what}")
    for noun, what in _NOUNS
    for verb, check, words in (
        ("get", _SEES_ALL, "Show"),
        ("list", _SEES_ALL, "List as"),
        ("create", _ADMIN, "Create"),
        ("update", _ADMIN, "Change"),
        ("delete", _ADMIN, "Delete"),
    )
)
