"""Request and response fields of domains and projects."""

from typing import Any

from pileus.identity.domain import Project
from pileus.identity.rest import Attributes, LongText, NameText
from pileus.kernel.fields import Body, Field, Param, Pattern, View

MAX_TAGS = 80
MAX_TAG_LENGTH = 255
Tags: Any = list[Pattern(rf"^[^/,]{{1,{MAX_TAG_LENGTH}}}$")]  # type: ignore[misc]

_COMMON = (
    Param("description", LongText, nullable=True),
    Param("enabled", bool),
    Param("options", dict[str, Any]),
    Param("tags", Tags),
)
DOMAIN_CREATE = Attributes(
    "domain",
    Param("name", NameText(64), required=True),
    Param("explicit_domain_id", Pattern("^[0-9a-f]{32}$"), nullable=True),
    *_COMMON,
)
DOMAIN_UPDATE = Attributes("domain", Param("name", NameText(64)), *_COMMON)
PROJECT_CREATE = Attributes(
    "project",
    Param("name", NameText(64), required=True),
    Param("domain_id", str, nullable=True),
    Param("parent_id", str, nullable=True),
    Param("is_domain", bool),
    *_COMMON,
)
PROJECT_UPDATE = Attributes(
    "project",
    Param("name", NameText(64)),
    Param("domain_id", str, nullable=True),
    Param("parent_id", str, nullable=True),
    Param("is_domain", bool),
    *_COMMON,
)
TAGS = Body(None, Param("tags", Tags, required=True), strict=True)


def _field(name: str) -> Field:
    def read(project: Project) -> Any:
        return getattr(project, name)

    return Field(name, read)


DOMAIN = View(*map(_field, ("id", "name", "description", "enabled", "tags", "options")))
PROJECT = View(
    *map(_field, ("id", "name", "domain_id", "description", "enabled", "parent_id", "is_domain", "tags", "options"))
)
