"""What of a Keystone's rows becomes what here. Ids stay, so that everything that refers to them stays true."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pileus.identity import models
from pileus.identity.generation import Generation
from pileus.identity.hashes import is_foreign
from pileus.identity.keystone_import import store
from pileus.identity.keystone_import.dump import Row, Tables
from pileus.kernel.clock import Clock, parse_iso
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest

_ROOT = "<<keystone.domain.root>>"
_NO_DOMAIN = "<<null>>"
_ID = re.compile(r"[\x21-\x7e]{1,36}")
_OPTIONS: Mapping[str, str] = {
    "1000": "ignore_change_password_upon_first_use",
    "1001": "ignore_password_expiry",
    "1002": "ignore_lockout_failure_attempts",
    "1003": "lock_password",
    "1004": "ignore_user_inactivity",
}
_TARGETS: Mapping[str, tuple[str, str]] = {
    "UserProject": ("user", "project"),
    "GroupProject": ("group", "project"),
    "UserDomain": ("user", "domain"),
    "GroupDomain": ("group", "domain"),
    "UserSystem": ("user", "system"),
    "GroupSystem": ("group", "system"),
}


class Imported(msgspec.Struct, frozen=True):
    """How many of each kind were added, and in words what was not, with the reason."""

    added: Mapping[str, int]
    left_out: tuple[str, ...]


class KeystoneImport:
    """One import. Idempotent: what is here already, by its id or its name, is left as it is and stands for the other.

    `ids` holds, for each kind, what an id of Keystone's is here.
    """

    def __init__(self, tables: Tables, generation: Generation, clock: Clock) -> None:
        missing = [name for name in ("project", "role", "user", "local_user", "password") if name not in tables]
        if len(missing) == 5:
            raise BadRequest("This is not a Keystone's database: it has none of the tables of users and projects.")
        self._tables = tables
        self._generation = generation
        self._clock = clock
        self._ids: dict[str, dict[str, str]] = {kind: {} for kind in store.HELD}
        self._added: Counter[str] = Counter()
        self._left_out: list[str] = []

    def run(self, tx: Tx) -> Imported:
        """Add what is missing."""
        self._ids = {kind: {} for kind in store.HELD}
        self._added, self._left_out = Counter(), []
        self._projects(tx)
        self._named(tx, "role", self._roles())
        passwords = self._passwords()
        self._users(tx, passwords)
        self._named(tx, "group", self._groups())
        self._pairs(tx)
        self._generation.advance(tx)
        return Imported(dict(self._added), tuple(self._left_out))

    def _rows(self, table: str) -> list[Row]:
        return self._tables.get(table, [])

    def _here(self, kind: str, their_id: Any) -> str | None:
        return self._ids[kind].get(str(their_id))

    def _add(self, tx: Tx, kind: str, rows: list[dict[str, Any]]) -> None:
        store.add(tx, store.HELD[kind], rows)
        self._added[kind] += len(rows)

    def _new(self, kind: str, row: Row, known: Mapping[tuple[str, str], str], taken: set[str], home: str) -> bool:
        """Whether a thing is to be added; `ids` knows it afterwards, unless it cannot be here at all."""
        their_id, name = str(row["id"]), str(row["name"])
        same_name = known.get((home, name))
        if their_id in taken or same_name is not None:
            self._ids[kind][their_id] = their_id if their_id in taken else str(same_name)
            return False
        if not _ID.fullmatch(their_id):
            self._left_out.append(f"{kind} {name}: its id {their_id} has more than 36 characters")
            return False
        self._ids[kind][their_id] = their_id
        return True

    # --- things ----------------------------------------------------------------------------------------------

    def _projects(self, tx: Tx) -> None:
        """Parents come before their children."""
        known, lineages = store.names(tx, models.project), store.lineages(tx)
        waiting = [row for row in self._rows("project") if row["id"] != _ROOT]
        new: list[dict[str, Any]] = []
        while waiting:
            later = []
            for row in waiting:
                is_domain = _flag(row.get("is_domain"))
                domain_id = None if is_domain else self._here("project", row["domain_id"])
                parent_id = None if is_domain else self._here("project", row.get("parent_id") or row["domain_id"])
                if not is_domain and (domain_id is None or parent_id is None):
                    later.append(row)
                    continue
                if not self._new("project", row, known, set(lineages), domain_id or ""):
                    continue
                lineage = f"{lineages[parent_id]}{parent_id}/" if parent_id else ""
                lineages[str(row["id"])] = lineage
                new.append(
                    {
                        "id": row["id"], "namespace": domain_id or "", "name": row["name"], "domain_id": domain_id,
                        "parent_id": parent_id, "lineage": lineage, "is_domain": is_domain,
                        "enabled": _flag(row["enabled"]), "description": row.get("description") or "",
                        "options": {}, "extra": _extra(row), "epoch": 0,
                    }
                )  # fmt: skip
            if len(later) == len(waiting):
                self._left_out += [f"project {row['name']}: its domain or parent is not there" for row in later]
                break
            waiting = later
        self._add(tx, "project", new)

    def _named(self, tx: Tx, kind: str, things: Iterator[tuple[Row, str, dict[str, Any]]]) -> set[str]:
        """Add the things that are not here; their ids."""
        known = store.names(tx, store.HELD[kind])
        taken = set(known.values())
        new = [values for row, home, values in things if self._new(kind, row, known, taken, home)]
        self._add(tx, kind, new)
        return {values["id"] for values in new}

    def _roles(self) -> Iterator[tuple[Row, str, dict[str, Any]]]:
        for row in self._rows("role"):
            theirs = row.get("domain_id")
            domain_id = None if theirs in (None, _NO_DOMAIN) else self._here("project", theirs)
            if theirs not in (None, _NO_DOMAIN) and domain_id is None:
                self._left_out.append(f"role {row['name']}: its domain is not there")
                continue
            values = {
                "id": row["id"], "namespace": domain_id or "", "name": row["name"], "domain_id": domain_id,
                "description": row.get("description"), "options": {}, "extra": _extra(row),
            }  # fmt: skip
            yield row, domain_id or "", values

    def _groups(self) -> Iterator[tuple[Row, str, dict[str, Any]]]:
        for row in self._rows("group"):
            domain_id = self._here("project", row["domain_id"])
            if domain_id is None:
                self._left_out.append(f"group {row['name']}: its domain is not there")
                continue
            values = {
                "id": row["id"], "domain_id": domain_id, "name": row["name"],
                "description": row.get("description") or "", "extra": _extra(row),
            }  # fmt: skip
            yield row, domain_id, values

    # --- users -----------------------------------------------------------------------------------------------

    def _passwords(self) -> dict[str, list[dict[str, Any]]]:
        """The passwords by the user's id, the newest last."""
        owners = {row["id"]: str(row["user_id"]) for row in self._rows("local_user")}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows("password"):
            user_id, hashed = owners.get(row["local_user_id"]), row.get("password_hash") or row.get("password")
            if user_id is None or not hashed:
                continue
            if not is_foreign(str(hashed)):
                self._left_out.append(f"a password of user {user_id}: its hash is of an unknown form")
                continue
            found.setdefault(user_id, []).append(
                {
                    "hash": hashed,
                    "created_at": _instant(row, "created_at") or 0,
                    "expires_at": _instant(row, "expires_at"),
                    "self_service": _flag(row.get("self_service")),
                }
            )
        return {user_id: sorted(some, key=lambda one: one["created_at"]) for user_id, some in found.items()}

    def _users(self, tx: Tx, passwords: Mapping[str, list[dict[str, Any]]]) -> None:
        named = {str(row["user_id"]): str(row["name"]) for row in self._rows("local_user")}
        named |= {str(row["user_id"]): str(row["name"]) for row in self._rows("nonlocal_user")}
        options: dict[str, dict[str, Any]] = {}
        for row in self._rows("user_option"):
            if str(row["option_id"]) in _OPTIONS and row.get("option_value") is not None:
                value = row["option_value"]
                decoded = msgspec.json.decode(value) if isinstance(value, str) else value
                options.setdefault(str(row["user_id"]), {})[_OPTIONS[str(row["option_id"])]] = bool(decoded)
        fresh = self._named(tx, "user", self._user_rows(named, options, passwords))
        added = [
            {"user_id": user_id, "created_at": one["created_at"] + number, "hash": one["hash"],
             "self_service": one["self_service"]}
            for user_id, some in passwords.items()
            if user_id in fresh
            for number, one in enumerate(some)
        ]  # fmt: skip
        store.add(tx, models.password, added)
        self._added["password"] += len(added)

    def _user_rows(
        self,
        named: Mapping[str, str],
        options: Mapping[str, dict[str, Any]],
        passwords: Mapping[str, list[dict[str, Any]]],
    ) -> Iterator[tuple[Row, str, dict[str, Any]]]:
        now = self._clock.now()
        for row in self._rows("user"):
            user_id, name = str(row["id"]), named.get(str(row["id"]))
            domain_id = self._here("project", row["domain_id"])
            if name is None or domain_id is None:
                why = "it has no name, as federated users have none" if name is None else "its domain is not there"
                self._left_out.append(f"user {name or user_id}: {why}")
                continue
            chosen = options.get(user_id, {})
            present = passwords.get(user_id, [])
            values = {
                "id": user_id, "domain_id": domain_id, "name": name, "enabled": _flag(row["enabled"]),
                "default_project_id": self._here("project", row.get("default_project_id")), "options": chosen,
                "extra": _extra(row), "epoch": 0,
                "password_expires_at": present[-1]["expires_at"] if present else None,
                "last_active_at": None if chosen.get("ignore_user_inactivity") else now,
            }  # fmt: skip
            yield {**row, "name": name}, domain_id, values

    # --- who is in what, and holds what ----------------------------------------------------------------------

    def _pairs(self, tx: Tx) -> None:
        members = (
            {"user_id": user_id, "group_id": group_id}
            for row in self._rows("user_group_membership")
            if (user_id := self._here("user", row["user_id"])) and (group_id := self._here("group", row["group_id"]))
        )
        self._added["membership"] += store.add_missing(tx, models.membership, members)
        implied = (
            {"prior_role_id": prior, "implied_role_id": then}
            for row in self._rows("implied_role")
            if (prior := self._here("role", row["prior_role_id"]))
            and (then := self._here("role", row["implied_role_id"]))
        )
        self._added["implied role"] += store.add_missing(tx, models.implied_role, implied)
        self._added["assignment"] += store.add_missing(tx, models.assignment, self._assignments())

    def _assignments(self) -> Iterator[dict[str, Any]]:
        for row in (*self._rows("assignment"), *self._rows("system_assignment")):
            actor_kind, target_kind = _TARGETS[str(row["type"])]
            actor_id, role_id = self._here(actor_kind, row["actor_id"]), self._here("role", row["role_id"])
            target_id = "system" if target_kind == "system" else self._here("project", row["target_id"])
            if actor_id is None or role_id is None or target_id is None:
                self._left_out.append(
                    f"the role {row['role_id']} of {actor_kind} {row['actor_id']} on {target_kind} {row['target_id']}:"
                    " one of them is not there"
                )
                continue
            yield {
                "actor_kind": actor_kind, "actor_id": actor_id, "target_kind": target_kind, "target_id": target_id,
                "role_id": role_id, "inherited": _flag(row.get("inherited")),
            }  # fmt: skip


def _flag(value: Any) -> bool:
    return value.lower() in ("1", "t", "true") if isinstance(value, str) else bool(value)


def _extra(row: Row) -> dict[str, Any]:
    """Attributes of Keystone's `extra`, where a text holds JSON."""
    value = row.get("extra")
    decoded = msgspec.json.decode(value) if isinstance(value, str) and value else value
    return decoded if isinstance(decoded, dict) else {}


def _instant(row: Row, name: str) -> int | None:
    """Microseconds since the epoch: Keystone has them as such beside a column of date and time, which is older."""
    exact = row.get(f"{name}_int")
    if exact:
        return int(exact)
    value = row.get(name)
    if value is None:
        return None
    try:
        return parse_iso(str(value))
    except ValueError as err:
        raise BadRequest(f"{name} of a password is no date and time: {value}") from err
