"""The rules that all of compute's defaults are made of, under Nova's names."""

from pileus.kernel.policy import Rule

ADMIN = "rule:context_is_admin"
MEMBER = "rule:project_member_or_admin"
READER = "rule:project_reader_or_admin"

BASE: tuple[Rule, ...] = (
    Rule("context_is_admin", "role:admin", "Decides what makes a caller an administrator."),
    Rule("admin_api", "rule:context_is_admin", "Default rule of most administrative operations."),
    Rule(
        "project_member_api",
        "role:member and project_id:%(project_id)s",
        "Default rule of a project's operations that change something.",
    ),
    Rule(
        "project_reader_api",
        "role:reader and project_id:%(project_id)s",
        "Default rule of a project's operations that only read.",
    ),
    Rule(
        "project_member_or_admin",
        "rule:project_member_api or rule:context_is_admin",
        "Default rule of operations of the project's members, or of administrators.",
    ),
    Rule(
        "project_reader_or_admin",
        "rule:project_reader_api or rule:context_is_admin",
        "Default rule of operations of the project's readers, or of administrators.",
    ),
)
