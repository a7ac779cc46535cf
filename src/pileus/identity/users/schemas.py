"""Request and response fields of users and groups."""

from typing import Any

import msgspec

from pileus.identity.domain import Group, User
from pileus.identity.rest import Attributes, Id, LongText, NameText
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.fields import Body, Field, Param, View

Secret = str


class FederatedAs(msgspec.Struct, frozen=True):
    """By which protocol of an identity provider a user comes, and what that calls the user."""

    protocol_id: str
    unique_id: str


class FederatedBy(msgspec.Struct, frozen=True):
    """Through which identity provider a user comes."""

    idp_id: str
    protocols: list[FederatedAs]


USER_CREATE = Attributes(
    "user",
    Param("name", NameText(255), required=True),
    Param("domain_id", str, nullable=True),
    Param("default_project_id", Id, nullable=True),
    Param("enabled", bool),
    Param("password", Secret, nullable=True),
    Param("options", dict[str, Any]),
    Param("federated", list[FederatedBy], nullable=True),
)
USER_UPDATE = Attributes(
    "user",
    Param("name", NameText(255)),
    Param("domain_id", str, nullable=True),
    Param("default_project_id", Id, nullable=True),
    Param("enabled", bool),
    Param("password", Secret, nullable=True),
    Param("options", dict[str, Any]),
    Param("federated", list[FederatedBy], nullable=True),
)
PASSWORD_CHANGE = Body(
    "user",
    Param("password", Secret, required=True),
    Param("original_password", Secret, required=True),
    extra=True,
    strict=True,
)
GROUP_CREATE = Attributes(
    "group",
    Param("name", NameText(64), required=True),
    Param("domain_id", str, nullable=True),
    Param("description", LongText, nullable=True),
)
GROUP_UPDATE = Attributes(
    "group",
    Param("name", NameText(64)),
    Param("domain_id", str, nullable=True),
    Param("description", LongText, nullable=True),
)


def _id(thing: User | Group) -> str:
    return thing.id


def _name(thing: User | Group) -> str:
    return thing.name


def _domain_id(thing: User | Group) -> str:
    return thing.domain_id


def _enabled(user: User) -> bool:
    return user.enabled


def _options(user: User) -> Any:
    return user.options


def _password_expires_at(user: User) -> str | None:
    return iso_micro_z(user.password_expires_at)


def _default_project_id(user: User) -> str | None:
    return user.default_project_id


def _description(group: Group) -> str:
    return group.description


_BOTH = (Field("id", _id), Field("name", _name), Field("domain_id", _domain_id))
USER = View(
    *_BOTH, Field("enabled", _enabled), Field("options", _options), Field("password_expires_at", _password_expires_at)
)
USER_WITH_PROJECT = USER + View(Field("default_project_id", _default_project_id))
"""Keystone leaves the field out where it is empty."""
GROUP = View(*_BOTH, Field("description", _description))
