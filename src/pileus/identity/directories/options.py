"""A directory's options: Keystone's, of `[ldap]` in a domain's configuration, with their types."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pileus.identity.domain_config.options import DEFAULTS
from pileus.kernel.errors import BadRequest, Unavailable
from pileus.kernel.http import parse_flag

_DEFAULT_TIMEOUT = 5.0


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Where things of one kind (users, groups) are and how they look. Attribute names are in lower case."""

    tree_dn: str
    object_class: str
    id_attribute: str
    name_attribute: str
    description_attribute: str
    filter: str
    extra: Mapping[str, str]  # attribute of the directory -> attribute of the API


class Enabled(msgspec.Struct, frozen=True, kw_only=True):
    """How the directory says that a user may log in. `emulation_dn`: of the group of those who may, if not empty."""

    attribute: str
    mask: int
    default: str
    invert: bool
    emulation_dn: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """All options of one directory. Never to be logged: `password` is in the clear."""

    urls: tuple[str, ...]
    user: str
    password: str
    subtree: bool
    page_size: int
    dereference: str
    use_tls: bool
    ca_file: str
    ca_directory: str
    require_certificate: str
    timeout: float
    pool_size: int
    pool_lifetime: float
    auth_pool_size: int
    auth_pool_lifetime: float
    users: Kind
    groups: Kind
    mail_attribute: str
    default_project_attribute: str
    enabled: Enabled
    member_attribute: str
    members_are_ids: bool


def options_of(given: Mapping[str, Any]) -> Options:
    """The options, as the API stored them or left them out. Unavailable if one of them cannot be meant."""
    values = {**DEFAULTS["ldap"], "password": None, **given}
    try:
        return _options(values)
    except (ValueError, TypeError, BadRequest) as err:
        raise Unavailable("The directory of this domain is not configured as it should be.") from err


def _options(values: Mapping[str, Any]) -> Options:
    suffix = _text(values, "suffix")
    timeout = float(values["pool_connection_timeout"])
    users_tree = _text(values, "user_tree_dn") or f"ou=Users,{suffix}"
    return Options(
        urls=_urls(_text(values, "url")),
        user=_text(values, "user"),
        password=_text(values, "password"),
        subtree=_one_of(values, "query_scope", "one", "sub") == "sub",
        page_size=int(values["page_size"]),
        dereference=_one_of(values, "alias_dereferencing", "default", "never", "searching", "always", "finding"),
        use_tls=_flag(values, "use_tls"),
        ca_file=_text(values, "tls_cacertfile"),
        ca_directory=_text(values, "tls_cacertdir"),
        require_certificate=_one_of(values, "tls_req_cert", "demand", "never", "allow"),
        timeout=timeout if timeout > 0 else _DEFAULT_TIMEOUT,
        pool_size=max(1, int(values["pool_size"])) if _flag(values, "use_pool") else 0,
        pool_lifetime=float(values["pool_connection_lifetime"]),
        auth_pool_size=max(1, int(values["auth_pool_size"])) if _flag(values, "use_auth_pool") else 0,
        auth_pool_lifetime=float(values["auth_pool_connection_lifetime"]),
        users=_kind(values, "user", users_tree, "user_description_attribute"),
        groups=_kind(
            values, "group", _text(values, "group_tree_dn") or f"ou=UserGroups,{suffix}", "group_desc_attribute"
        ),
        mail_attribute=_attribute(values, "user_mail_attribute"),
        default_project_attribute=_attribute(values, "user_default_project_id_attribute"),
        enabled=_enabled(values, users_tree),
        member_attribute=_attribute(values, "group_member_attribute"),
        members_are_ids=_flag(values, "group_members_are_ids"),
    )


def _kind(values: Mapping[str, Any], noun: str, tree_dn: str, description: str) -> Kind:
    ignored = {str(name) for name in _list(values, f"{noun}_attribute_ignore")}
    pairs = (str(pair).partition(":") for pair in _list(values, f"{noun}_additional_attribute_mapping"))
    return Kind(
        tree_dn=tree_dn,
        object_class=_text(values, f"{noun}_objectclass"),
        id_attribute=_attribute(values, f"{noun}_id_attribute"),
        name_attribute=_attribute(values, f"{noun}_name_attribute"),
        description_attribute=_attribute(values, description) if "description" not in ignored else "",
        filter=_filter(_text(values, f"{noun}_filter")),
        extra={there.strip().lower(): here.strip() for there, colon, here in pairs if colon and here not in ignored},
    )


def _enabled(values: Mapping[str, Any], users_tree: str) -> Enabled:
    emulated = _flag(values, "user_enabled_emulation")
    emulation_dn = _text(values, "user_enabled_emulation_dn") or f"cn=enabled_users,{users_tree}"
    return Enabled(
        attribute=_attribute(values, "user_enabled_attribute"),
        mask=int(values["user_enabled_mask"]),
        default=str(values["user_enabled_default"]),
        invert=_flag(values, "user_enabled_invert"),
        emulation_dn=emulation_dn if emulated else "",
    )


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(part for part in text.replace(",", " ").split() if part)
    for url in urls:
        if urlsplit(url).scheme not in ("ldap", "ldaps", "ldapi"):
            raise ValueError(url)
    if not urls:
        raise ValueError("no url")
    return urls


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    return "" if value is None else str(value)


def _attribute(values: Mapping[str, Any], name: str) -> str:
    return _text(values, name).strip().lower()


def _filter(text: str) -> str:
    """A filter as it goes into another one: in parentheses, if there is any."""
    text = text.strip()
    return text if not text or text.startswith("(") else f"({text})"


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values[name]
    return value if isinstance(value, bool) else parse_flag(name, str(value))


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    value = values[name]
    if value is None:
        return []
    return value if isinstance(value, list) else [part.strip() for part in str(value).split(",") if part.strip()]


def _one_of(values: Mapping[str, Any], name: str, *choices: str) -> str:
    value = str(values[name])
    if value not in choices:
        raise ValueError(f"{name}: {value}")
    return value
