"""Operations on identity providers, mappings, protocols and service providers."""

from typing import Any

from pileus.identity.federation.domain import AttributeMapping, IdentityProvider, Protocol, ServiceProvider
from pileus.identity.federation.login_routes import ROUTES as LOGIN
from pileus.identity.federation.schemas import (
    MAPPING,
    MAPPING_CREATE,
    MAPPING_UPDATE,
    PROTOCOL,
    PROTOCOL_CREATE,
    PROTOCOL_UPDATE,
    PROVIDER,
    PROVIDER_CREATE,
    PROVIDER_UPDATE,
    SERVICE_PROVIDER,
    SERVICE_PROVIDER_CREATE,
    SERVICE_PROVIDER_UPDATE,
)
from pileus.identity.rest import many, one, wanted
from pileus.identity.service import Identity
from pileus.identity.tokens.routes import list_own_domains, list_own_projects
from pileus.kernel.errors import NotBuilt
from pileus.kernel.http import Call, Route
from pileus.kernel.policy import PUBLIC

_IDPS = "/OS-FEDERATION/identity_providers"
_IDP = f"{_IDPS}/{{idp_id}}"
_PROTOCOLS = f"{_IDP}/protocols"
_PROTOCOL = f"{_PROTOCOLS}/{{protocol_id}}"
_MAPPINGS = "/OS-FEDERATION/mappings"
_MAPPING = f"{_MAPPINGS}/{{mapping_id}}"
_SPS = "/OS-FEDERATION/service_providers"
_SP = f"{_SPS}/{{sp_id}}"


# --- identity providers -------------------------------------------------------------------------------------


def _provider(call: Call, provider: IdentityProvider) -> dict[str, Any]:
    shown = one(call, _IDPS.lstrip("/"), PROVIDER, provider)
    return {**shown, "links": {**shown["links"], "protocols": f"{shown['links']['self']}/protocols"}}


def list_providers(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/identity_providers"""
    want = wanted(call, svc.max_limit, {"id": "id"}, ("enabled",), alike=())
    with call.read() as tx:
        found = svc.federation.providers(tx, want)
    return many(call, "identity_providers", found, lambda provider: _provider(call, provider))


def create_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /OS-FEDERATION/identity_providers/{idp_id}"""
    idp_id = call.params["idp_id"]
    provider = call.transact(lambda tx: svc.federation.create_provider(tx, idp_id, call.body))
    return {"identity_provider": _provider(call, provider)}


def show_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/identity_providers/{idp_id}"""
    with call.read() as tx:
        return {"identity_provider": _provider(call, svc.federation.provider(tx, call.params["idp_id"]))}


def update_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-FEDERATION/identity_providers/{idp_id}"""
    federation, idp_id = svc.federation, call.params["idp_id"]
    provider = call.transact(lambda tx: federation.update_provider(tx, federation.provider(tx, idp_id), call.body))
    return {"identity_provider": _provider(call, provider)}


def delete_provider(call: Call, svc: Identity) -> None:
    """DELETE /OS-FEDERATION/identity_providers/{idp_id}"""
    federation, idp_id = svc.federation, call.params["idp_id"]
    call.transact(lambda tx: federation.delete_provider(tx, federation.provider(tx, idp_id)))


# --- protocols ----------------------------------------------------------------------------------------------


def _protocol(call: Call, protocol: Protocol) -> dict[str, Any]:
    provider = f"{call.base_url}{_IDPS}/{protocol.idp_id}"
    links = {"self": f"{provider}/protocols/{protocol.id}", "identity_provider": provider}
    return {**PROTOCOL.render(protocol), "links": links}


def list_protocols(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/identity_providers/{idp_id}/protocols"""
    want = wanted(call, svc.max_limit, {"id": "id"}, alike=())
    with call.read() as tx:
        found = svc.federation.protocols(tx, call.params["idp_id"], want)
    return many(call, "protocols", found, lambda protocol: _protocol(call, protocol))


def create_protocol(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"""
    idp_id, protocol_id = call.params["idp_id"], call.params["protocol_id"]
    protocol = call.transact(lambda tx: svc.federation.create_protocol(tx, idp_id, protocol_id, call.body))
    return {"protocol": _protocol(call, protocol)}


def show_protocol(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"""
    with call.read() as tx:
        protocol = svc.federation.protocol(tx, call.params["idp_id"], call.params["protocol_id"])
    return {"protocol": _protocol(call, protocol)}


def update_protocol(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"""
    federation, idp_id, protocol_id = svc.federation, call.params["idp_id"], call.params["protocol_id"]
    protocol = call.transact(
        lambda tx: federation.update_protocol(tx, federation.protocol(tx, idp_id, protocol_id), call.body)
    )
    return {"protocol": _protocol(call, protocol)}


def delete_protocol(call: Call, svc: Identity) -> None:
    """DELETE /OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}"""
    federation, idp_id, protocol_id = svc.federation, call.params["idp_id"], call.params["protocol_id"]
    call.transact(lambda tx: federation.delete_protocol(tx, federation.protocol(tx, idp_id, protocol_id)))


# --- mappings -----------------------------------------------------------------------------------------------


def _mapping(call: Call, mapping: AttributeMapping) -> dict[str, Any]:
    return one(call, _MAPPINGS.lstrip("/"), MAPPING, mapping)


def list_mappings(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/mappings"""
    with call.read() as tx:
        found = svc.federation.mappings(tx, wanted(call, svc.max_limit, {}, alike=()))
    return many(call, "mappings", found, lambda mapping: _mapping(call, mapping))


def create_mapping(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /OS-FEDERATION/mappings/{mapping_id}"""
    mapping_id = call.params["mapping_id"]
    mapping = call.transact(lambda tx: svc.federation.create_mapping(tx, mapping_id, call.body))
    return {"mapping": _mapping(call, mapping)}


def show_mapping(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/mappings/{mapping_id}"""
    with call.read() as tx:
        return {"mapping": _mapping(call, svc.federation.mapping(tx, call.params["mapping_id"]))}


def update_mapping(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-FEDERATION/mappings/{mapping_id}"""
    federation, mapping_id = svc.federation, call.params["mapping_id"]
    mapping = call.transact(lambda tx: federation.update_mapping(tx, federation.mapping(tx, mapping_id), call.body))
    return {"mapping": _mapping(call, mapping)}


def delete_mapping(call: Call, svc: Identity) -> None:
    """DELETE /OS-FEDERATION/mappings/{mapping_id}"""
    federation, mapping_id = svc.federation, call.params["mapping_id"]
    call.transact(lambda tx: federation.delete_mapping(tx, federation.mapping(tx, mapping_id)))


# --- service providers --------------------------------------------------------------------------------------


def _service_provider(call: Call, provider: ServiceProvider) -> dict[str, Any]:
    return one(call, _SPS.lstrip("/"), SERVICE_PROVIDER, provider)


def list_service_providers(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/service_providers"""
    want = wanted(call, svc.max_limit, {"id": "id"}, ("enabled",), alike=())
    with call.read() as tx:
        found = svc.federation.service_providers(tx, want)
    return many(call, "service_providers", found, lambda provider: _service_provider(call, provider))


def create_service_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """PUT /OS-FEDERATION/service_providers/{sp_id}"""
    sp_id = call.params["sp_id"]
    provider = call.transact(lambda tx: svc.federation.create_service_provider(tx, sp_id, call.body))
    return {"service_provider": _service_provider(call, provider)}


def show_service_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /OS-FEDERATION/service_providers/{sp_id}"""
    with call.read() as tx:
        return {"service_provider": _service_provider(call, svc.federation.service_provider(tx, call.params["sp_id"]))}


def update_service_provider(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /OS-FEDERATION/service_providers/{sp_id}"""
    federation, sp_id = svc.federation, call.params["sp_id"]
    provider = call.transact(
        lambda tx: federation.update_service_provider(tx, federation.service_provider(tx, sp_id), call.body)
    )
    return {"service_provider": _service_provider(call, provider)}


def delete_service_provider(call: Call, svc: Identity) -> None:
    """DELETE /OS-FEDERATION/service_providers/{sp_id}"""
    federation, sp_id = svc.federation, call.params["sp_id"]
    call.transact(lambda tx: federation.delete_service_provider(tx, federation.service_provider(tx, sp_id)))


def no_assertions(_call: Call, _svc: Identity) -> None:
    """Keystone-to-Keystone: this cloud has no certificate for SAML, and so vouches for nobody elsewhere."""
    raise NotBuilt("This cloud is not configured to be an identity provider of SAML 2.0.")


ROUTES: tuple[Route[Identity], ...] = (
    *LOGIN,
    Route("GET", _IDPS, list_providers, "identity:list_identity_providers"),
    Route("PUT", _IDP, create_provider, "identity:create_identity_provider", 201, PROVIDER_CREATE),
    Route("GET", _IDP, show_provider, "identity:get_identity_provider"),
    Route("PATCH", _IDP, update_provider, "identity:update_identity_provider", body=PROVIDER_UPDATE),
    Route("DELETE", _IDP, delete_provider, "identity:delete_identity_provider", 204),
    Route("GET", _PROTOCOLS, list_protocols, "identity:list_protocols"),
    Route("PUT", _PROTOCOL, create_protocol, "identity:create_protocol", 201, PROTOCOL_CREATE),
    Route("GET", _PROTOCOL, show_protocol, "identity:get_protocol"),
    Route("PATCH", _PROTOCOL, update_protocol, "identity:update_protocol", body=PROTOCOL_UPDATE),
    Route("DELETE", _PROTOCOL, delete_protocol, "identity:delete_protocol", 204),
    Route("GET", _MAPPINGS, list_mappings, "identity:list_mappings"),
    Route("PUT", _MAPPING, create_mapping, "identity:create_mapping", 201, MAPPING_CREATE),
    Route("GET", _MAPPING, show_mapping, "identity:get_mapping"),
    Route("PATCH", _MAPPING, update_mapping, "identity:update_mapping", body=MAPPING_UPDATE),
    Route("DELETE", _MAPPING, delete_mapping, "identity:delete_mapping", 204),
    Route("GET", _SPS, list_service_providers, "identity:list_service_providers"),
    Route("PUT", _SP, create_service_provider, "identity:create_service_provider", 201, SERVICE_PROVIDER_CREATE),
    Route("GET", _SP, show_service_provider, "identity:get_service_provider"),
    Route("PATCH", _SP, update_service_provider, "identity:update_service_provider", body=SERVICE_PROVIDER_UPDATE),
    Route("DELETE", _SP, delete_service_provider, "identity:delete_service_provider", 204),
    Route("GET", "/OS-FEDERATION/projects", list_own_projects, "identity:get_auth_projects"),
    Route("GET", "/OS-FEDERATION/domains", list_own_domains, "identity:get_auth_domains"),
    Route("GET", "/OS-FEDERATION/saml2/metadata", no_assertions, PUBLIC),
    Route("POST", "/auth/OS-FEDERATION/saml2", no_assertions, PUBLIC),
    Route("POST", "/auth/OS-FEDERATION/saml2/ecp", no_assertions, PUBLIC),
)
