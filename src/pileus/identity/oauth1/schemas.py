"""Request and response fields of OS-OAUTH1."""

from typing import Any

from pileus.identity.oauth1.domain import AccessToken, Consumer
from pileus.identity.rest import Attributes, LongText
from pileus.kernel.clock import iso_micro_z
from pileus.kernel.fields import Body, Field, Param, View

_CONSUMER = (Param("description", LongText, nullable=True), Param("secret", Any))
CONSUMER_CREATE = Attributes("consumer", *_CONSUMER)
CONSUMER_UPDATE = Attributes("consumer", *_CONSUMER)
AUTHORIZE = Body(None, Param("roles", list[dict[str, Any]], required=True), extra=True, strict=True)


def _description(consumer: Consumer) -> str | None:
    return consumer.description


def _id(thing: Consumer | AccessToken) -> str:
    return thing.id


def _consumer_id(token: AccessToken) -> str:
    return token.consumer_id


def _user_id(token: AccessToken) -> str:
    return token.user_id


def _project_id(token: AccessToken) -> str:
    return token.project_id


def _expires_at(token: AccessToken) -> str | None:
    return iso_micro_z(token.expires_at)


CONSUMER = View(Field("id", _id), Field("description", _description))
ACCESS_TOKEN = View(
    Field("id", _id),
    Field("consumer_id", _consumer_id),
    Field("authorizing_user_id", _user_id),
    Field("project_id", _project_id),
    Field("expires_at", _expires_at),
)
