"""The rules of domains' own configuration."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pileus.identity.domain import DEFAULT_DOMAIN
from pileus.identity.domain_config import store
from pileus.identity.domain_config.options import COMPLIANCE, DEFAULTS, SENSITIVE
from pileus.identity.domain_config.store import Stored
from pileus.identity.generation import Generation
from pileus.identity.keys import KeyRepository
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden, NotFound, PileusError

Config = dict[str, dict[str, Any]]
"""Group -> option -> value."""

_PLACE = re.compile(r"%\((\w+)\)s")


class DomainConfigs:
    """What domains have of their own among the options of `[identity]` and `[ldap]`.

    Whose users a domain has depends on it, so each change begins a new generation.
    """

    def __init__(self, settings: IdentitySettings, clock: Clock, generation: Generation) -> None:
        self._keys = KeyRepository(settings.credential_keys)
        self._passwords = settings.security_compliance
        self._clock = clock
        self._generation = generation

    def get(self, tx: Tx, domain_id: str) -> Config:
        """A domain's whole configuration, for those who act on it: with passwords, and never to be shown or logged.

        Where a text holds `%(name)s` and a sensitive option of its group is called so, that option's value is put in.
        Empty if the domain has no configuration. Options that it has not are left out (`options.DEFAULTS` has them).
        """
        config: Config = {}
        secrets: dict[str, dict[str, str]] = {}
        for option in store.options_of(tx, domain_id):
            sealed = option.encrypted_value
            value = option.value if sealed is None else self._opened(domain_id, option.name, sealed)
            config.setdefault(option.section, {})[option.name] = value
            if sealed is not None:
                secrets.setdefault(option.section, {})[option.name] = str(value)
        for section, known in secrets.items():
            for name in config[section].keys() - known.keys():
                config[section][name] = _filled(config[section][name], known)
        return config

    def shown(self, tx: Tx, domain_id: str, group: str | None = None, option: str | None = None) -> dict[str, Any]:
        """What the API shows of a domain's configuration: all groups, one, or (without its group) one option.

        Forbidden for what cannot be configured; NotFound if the domain has none of what is asked for.
        """
        _check_known(group, option)
        config = self._visible(tx, domain_id)
        if group is not None:
            config = {group: config[group]} if group in config else {}
        if group is not None and option is not None:
            found = config.get(group, {})
            if option not in found:
                raise _missing(domain_id, group, option)
            return {option: found[option]}
        if not config:
            raise _missing(domain_id, group, option)
        return config

    def compliance(self, domain_id: str, option: str | None = None) -> dict[str, Any]:
        """What a password must look like: of the default domain, to which all others are alike. Forbidden else."""
        if domain_id != DEFAULT_DOMAIN:
            raise _invalid("security compliance can be read of the default domain only")
        known = {
            "password_regex": self._passwords.password_regex or None,
            "password_regex_description": self._passwords.password_regex_description or None,
        }
        if option is None:
            return {COMPLIANCE: known}
        if option not in known:
            raise _invalid("of security compliance, password_regex and password_regex_description can be read only")
        return {option: known[option]}

    def default(self, group: str | None = None, option: str | None = None) -> dict[str, Any]:
        """The values in force where a domain has none of its own. Forbidden for what cannot be configured."""
        _check_known(group, option)
        if group is None:
            return {section: dict(options) for section, options in DEFAULTS.items()}
        if option is None:
            return {group: dict(DEFAULTS[group])}
        if option in SENSITIVE[group]:
            raise _invalid(f"the value of {option} in group {group} is not shown")
        return {option: DEFAULTS[group][option]}

    def create(self, tx: Tx, domain_id: str, config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Store a domain's configuration in the place of any other; what is shown of it, and whether there was none.

        Forbidden for what cannot be configured.
        """
        checked = _checked(config)
        is_new = not store.options_of(tx, domain_id)
        store.delete(tx, domain_id)
        self._put(tx, domain_id, checked)
        return dict(self._visible(tx, domain_id)), is_new

    def update(
        self, tx: Tx, domain_id: str, config: Mapping[str, Any], group: str | None = None, option: str | None = None
    ) -> dict[str, Any]:
        """Add and change options; what is shown of the whole configuration then.

        With a group, or a group and an option, the body must name exactly that (an option without its group), and the
        domain must have it already: NotFound else. Forbidden for what cannot be configured.
        """
        checked = _checked({group: config} if group is not None and option is not None else config)
        _check_known(group, option)
        if group is not None:
            if checked.keys() != {group} or (option is not None and checked[group].keys() != {option}):
                raise _invalid(f"the request must name {_named(group, option)} and nothing else")
            present = {(one.section, one.name) for one in store.options_of(tx, domain_id)}
            if not any(section == group and option in (None, name) for section, name in present):
                raise _missing(domain_id, group, option)
        self._put(tx, domain_id, checked)
        return dict(self._visible(tx, domain_id))

    def delete(self, tx: Tx, domain_id: str, group: str | None = None, option: str | None = None) -> None:
        """Delete a domain's configuration, a group or an option of it. NotFound if it has no such group or option."""
        _check_known(group, option)
        if group is not None:
            present = {(one.section, one.name) for one in store.options_of(tx, domain_id)}
            if not any(section == group and option in (None, name) for section, name in present):
                raise _missing(domain_id, group, option)
        store.delete(tx, domain_id, group, option)
        self._generation.advance(tx)

    def _visible(self, tx: Tx, domain_id: str) -> Config:
        config: Config = {}
        for option in store.options_of(tx, domain_id):
            if option.encrypted_value is None:
                config.setdefault(option.section, {})[option.name] = option.value
        return config

    def _put(self, tx: Tx, domain_id: str, config: Config) -> None:
        options = [
            Stored(section=section, name=name, encrypted_value=self._sealed(value))
            if name in SENSITIVE[section]
            else Stored(section=section, name=name, value=value)
            for section, values in config.items()
            for name, value in values.items()
        ]
        store.put(tx, domain_id, options)
        self._generation.advance(tx)

    def _sealed(self, value: Any) -> str:
        return self._keys.encrypt(msgspec.json.encode(value), self._clock.now() // MICROSECONDS).decode()

    def _opened(self, domain_id: str, name: str, sealed: str) -> Any:
        value = self._keys.decrypt(sealed.encode())
        if value is None:
            raise PileusError(f"The option {name} of domain {domain_id} cannot be decrypted with the cloud's keys.")
        return msgspec.json.decode(value)


def _checked(config: Mapping[str, Any]) -> Config:
    """The configuration in a request. Forbidden, as Keystone answers, if it is empty or holds what is no option."""
    if not config:
        raise _invalid("no options specified")
    for group, options in config.items():
        _check_known(group)
        if not isinstance(options, dict) or not options:
            raise _invalid(f"the value of group {group} should be a dictionary of options")
        for option in options:
            _check_known(group, option)
    return {group: dict(options) for group, options in config.items()}


def _check_known(group: str | None, option: str | None = None) -> None:
    if group is not None and group not in DEFAULTS:
        raise _invalid(f"group {group} is not supported for domains")
    if group is not None and option is not None and option not in DEFAULTS[group] and option not in SENSITIVE[group]:
        raise _invalid(f"option {option} in group {group} is not supported for domains")


def _named(group: str | None, option: str | None) -> str:
    if group is None:
        return "any options"
    return f"group {group}" if option is None else f"option {option} in group {group}"


def _invalid(reason: str) -> Forbidden:
    return Forbidden(f"Invalid domain specific configuration: {reason}.")


def _missing(domain_id: str, group: str | None, option: str | None) -> NotFound:
    return NotFound(f"Could not find {_named(group, option)} in domain configuration for domain {domain_id}.")


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _PLACE.sub(lambda place: known.get(place[1], place[0]), value)
