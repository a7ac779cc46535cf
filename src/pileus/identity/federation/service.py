"""The rules of identity providers, mappings, protocols and service providers."""

import re
from collections.abc import Sequence

from pileus.identity.domain import User
from pileus.identity.federation import mapping as language
from pileus.identity.federation import store
from pileus.identity.federation.domain import (
    AttributeMapping,
    FederatedObject,
    IdentityProvider,
    Protocol,
    ServiceProvider,
)
from pileus.identity.generation import Generation
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.users import store as users_store
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.ids import new_hex

_ID = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
DEFAULT_VERSION = "1.0"


class Federation:
    """Whom this cloud trusts to vouch for users, and what it makes of them."""

    def __init__(self, projects: Projects, generation: Generation) -> None:
        self._projects = projects
        self._generation = generation

    # --- identity providers ----------------------------------------------------------------------------------

    def provider(self, tx: Tx, idp_id: str) -> IdentityProvider:
        """A provider, or NotFound."""
        found = store.provider(tx, idp_id)
        if found is None:
            raise missing("identity provider", idp_id)
        return found

    def providers(self, tx: Tx, wanted: Wanted) -> Found[IdentityProvider]:
        """A page of providers."""
        return store.providers(tx, wanted)

    def create_provider(self, tx: Tx, idp_id: str, sent: Sent) -> IdentityProvider:
        """Register a provider. Without a domain it gets a new one, whose users are the provider's alone.

        Conflict if the id, or a remote id, is taken.
        """
        _check_id(idp_id)
        domain_id = sent.get("domain_id")
        if domain_id is None:
            domain_id = self._new_domain(tx, idp_id)
        self._projects.domain(tx, domain_id)
        provider = IdentityProvider(
            id=idp_id,
            domain_id=domain_id,
            enabled=sent.get("enabled", False),
            description=sent.get("description"),
            authorization_ttl=sent.get("authorization_ttl"),
        )
        store.PROVIDERS.insert(tx, provider)
        store.set_remote_ids(tx, idp_id, sent.get("remote_ids", ()))
        return self.provider(tx, idp_id)

    def _new_domain(self, tx: Tx, idp_id: str) -> str:
        domain_id = new_hex()
        words = f"Auto generated federated domain for Identity Provider: {idp_id}"
        self._projects.create_domain(tx, Sent({"name": domain_id, "description": words}, {}), domain_id)
        return domain_id

    def update_provider(self, tx: Tx, provider: IdentityProvider, sent: Sent) -> IdentityProvider:
        """Change a provider. Disabling it voids the tokens of those who came through it."""
        if "remote_ids" in sent.known:
            store.set_remote_ids(tx, provider.id, sent.get("remote_ids", ()))
        values = changes(provider, sent, ("enabled", "description", "authorization_ttl"))
        store.PROVIDERS.change(tx, provider.id, values)
        self._generation.advance(tx)
        return self.provider(tx, provider.id)

    def delete_provider(self, tx: Tx, provider: IdentityProvider) -> None:
        """Delete a provider with its protocols, and the users who came through it alone and have no password.

        A provider that gets the same id later may be another one: its users inherit nothing.
        """
        for user_id in store.users_only_by(tx, provider.id):
            users_store.delete_user(tx, user_id)
        store.PROVIDERS.delete(tx, provider.id)
        self._generation.advance(tx)

    # --- mappings --------------------------------------------------------------------------------------------

    def mapping(self, tx: Tx, mapping_id: str) -> AttributeMapping:
        """A mapping, or NotFound."""
        found = store.MAPPINGS.get(tx, mapping_id)
        if found is None:
            raise missing("mapping", mapping_id)
        return found

    def mappings(self, tx: Tx, wanted: Wanted) -> Found[AttributeMapping]:
        """A page of mappings."""
        return store.MAPPINGS.page(tx, wanted)

    def create_mapping(self, tx: Tx, mapping_id: str, sent: Sent) -> AttributeMapping:
        """Store rules. BadRequest, with the place of the mistake, if they are none."""
        _check_id(mapping_id)
        version = sent.get("schema_version", DEFAULT_VERSION)
        language.check(sent.known["rules"], version)
        mapping = AttributeMapping(id=mapping_id, rules=sent.known["rules"], schema_version=version)
        store.MAPPINGS.insert(tx, mapping)
        return mapping

    def update_mapping(self, tx: Tx, mapping: AttributeMapping, sent: Sent) -> AttributeMapping:
        """Replace rules. They apply from the next login on."""
        rules = sent.get("rules", mapping.rules)
        version = sent.get("schema_version", mapping.schema_version)
        language.check(rules, version)
        values = changes(mapping, sent, ()) | {"rules": rules, "schema_version": version}
        store.MAPPINGS.change(tx, mapping.id, values)
        return self.mapping(tx, mapping.id)

    def delete_mapping(self, tx: Tx, mapping: AttributeMapping) -> None:
        """Delete a mapping. Conflict while a protocol uses it."""
        if store.uses_of_mapping(tx, mapping.id):
            raise Conflict(f"The mapping {mapping.id} is used by a protocol.")
        store.MAPPINGS.delete(tx, mapping.id)

    # --- protocols -------------------------------------------------------------------------------------------

    def protocol(self, tx: Tx, idp_id: str, protocol_id: str) -> Protocol:
        """A protocol of a provider, or NotFound."""
        found = store.protocol(tx, idp_id, protocol_id)
        if found is None:
            raise missing("federated protocol", f"{protocol_id} for Identity Provider: {idp_id}")
        return found

    def protocols(self, tx: Tx, idp_id: str, wanted: Wanted) -> Found[Protocol]:
        """A page of a provider's protocols."""
        return store.protocols(tx, self.provider(tx, idp_id).id, wanted)

    def create_protocol(self, tx: Tx, idp_id: str, protocol_id: str, sent: Sent) -> Protocol:
        """Add a protocol to a provider. BadRequest if there is no such mapping."""
        _check_id(protocol_id)
        protocol = Protocol(
            id=protocol_id,
            idp_id=self.provider(tx, idp_id).id,
            mapping_id=self._known_mapping(tx, sent.known["mapping_id"]),
            remote_id_attribute=sent.get("remote_id_attribute") or None,
        )
        store.insert_protocol(tx, protocol)
        return protocol

    def update_protocol(self, tx: Tx, protocol: Protocol, sent: Sent) -> Protocol:
        """Change a protocol."""
        values = changes(protocol, sent, ("mapping_id", "remote_id_attribute"))
        if "mapping_id" in values:
            self._known_mapping(tx, values["mapping_id"])
        if "remote_id_attribute" in values:
            values["remote_id_attribute"] = values["remote_id_attribute"] or None
        store.change_protocol(tx, protocol.idp_id, protocol.id, values)
        return self.protocol(tx, protocol.idp_id, protocol.id)

    def delete_protocol(self, tx: Tx, protocol: Protocol) -> None:
        """Delete a protocol, and the users who came by it alone and have no password."""
        for user_id in store.users_only_by(tx, protocol.idp_id, protocol.id):
            users_store.delete_user(tx, user_id)
        store.delete_protocol(tx, protocol.idp_id, protocol.id)
        self._generation.advance(tx)

    @staticmethod
    def _known_mapping(tx: Tx, mapping_id: str) -> str:
        if store.MAPPINGS.get(tx, mapping_id) is None:
            raise BadRequest(f"Invalid mapping id: {mapping_id}.")
        return mapping_id

    # --- users -----------------------------------------------------------------------------------------------

    def objects_of(self, tx: Tx, user_id: str) -> list[FederatedObject]:
        """Through which providers a user comes."""
        return store.objects_of(tx, user_id)

    def link(self, tx: Tx, user: User, objects: Sequence[FederatedObject]) -> None:
        """Let a user come through these providers, and through no others.

        BadRequest unless they are of the user's domain: who runs a domain decides about its own providers' users only.
        Conflict if one of them is another user already.
        """
        store.forget_user(tx, user.id)
        for one in objects:
            provider, protocol = store.provider(tx, one.idp_id), store.protocol(tx, one.idp_id, one.protocol_id)
            if provider is None or protocol is None or provider.domain_id != user.domain_id:
                raise BadRequest(f"There is no protocol {one.protocol_id} of {one.idp_id} in the user's domain.")
            if not one.unique_id or len(one.unique_id) > 255:
                raise BadRequest("A unique_id has 1 to 255 characters.")
            store.add_user(tx, one, user.id)

    # --- service providers -----------------------------------------------------------------------------------

    def service_provider(self, tx: Tx, sp_id: str) -> ServiceProvider:
        """A service provider, or NotFound."""
        found = store.SERVICE_PROVIDERS.get(tx, sp_id)
        if found is None:
            raise missing("service provider", sp_id)
        return found

    def service_providers(self, tx: Tx, wanted: Wanted) -> Found[ServiceProvider]:
        """A page of service providers."""
        return store.SERVICE_PROVIDERS.page(tx, wanted)

    def create_service_provider(self, tx: Tx, sp_id: str, sent: Sent) -> ServiceProvider:
        """Record a service provider."""
        _check_id(sp_id)
        known = {name: value for name, value in sent.known.items() if value is not None}
        provider = ServiceProvider(id=sp_id, **({"enabled": False} | known))
        store.SERVICE_PROVIDERS.insert(tx, provider)
        return provider

    def update_service_provider(self, tx: Tx, provider: ServiceProvider, sent: Sent) -> ServiceProvider:
        """Change a service provider."""
        names = ("auth_url", "sp_url", "enabled", "description", "relay_state_prefix")
        prefix = ServiceProvider.__struct_defaults__[-1]
        values = changes(provider, sent, names, {"relay_state_prefix": prefix})
        store.SERVICE_PROVIDERS.change(tx, provider.id, values)
        return self.service_provider(tx, provider.id)

    def delete_service_provider(self, tx: Tx, provider: ServiceProvider) -> None:
        """Delete a service provider."""
        store.SERVICE_PROVIDERS.delete(tx, provider.id)


def _check_id(given: str) -> None:
    if _ID.fullmatch(given) is None:
        raise BadRequest("An id has 1 to 64 letters, digits and characters of '-._~'.")
