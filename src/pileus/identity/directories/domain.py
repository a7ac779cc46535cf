"""Users and groups as a directory has them."""

from collections.abc import Mapping
from typing import Literal

import msgspec

Noun = Literal["user", "group"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A user or a group. `dn` is in normal form; `address` is the DN as the server writes it.

    `members`: of a group, as the directory names them. `extra`: further attributes under the API's names.
    """

    local_id: str
    name: str
    dn: str
    address: str
    description: str = ""
    email: str = ""
    default_project_id: str = ""
    enabled: bool = True
    members: tuple[str, ...] = ()
    extra: Mapping[str, str] = {}
