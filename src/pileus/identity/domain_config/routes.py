"""Operations on domains' configuration."""

from typing import Any

from pileus.identity.domain_config.options import COMPLIANCE
from pileus.identity.domain_config.schemas import CONFIG
from pileus.identity.service import Identity
from pileus.kernel.db import Tx
from pileus.kernel.fields import given
from pileus.kernel.http import Call, Reply, Route


def _part(call: Call) -> tuple[str | None, str | None]:
    """The group and the option that the path names."""
    return call.params.get("group"), call.params.get("option")


def _domain(call: Call, svc: Identity, tx: Tx) -> str:
    return svc.projects.domain(tx, call.params["domain_id"]).id


def show_config(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /domains/{domain_id}/config, of it /{group}, of that /{option}"""
    group, option = _part(call)
    public = group == COMPLIANCE
    call.authorize({}, "identity:get_security_compliance_domain_config" if public else None)
    with call.read() as tx:
        domain_id = _domain(call, svc, tx)
        if public:
            return {"config": svc.domain_configs.compliance(domain_id, option)}
        return {"config": svc.domain_configs.shown(tx, domain_id, group, option)}


def create_config(call: Call, svc: Identity) -> Reply:
    """PUT /domains/{domain_id}/config"""
    config = given(call.body.config, {})
    shown, is_new = call.transact(lambda tx: svc.domain_configs.create(tx, _domain(call, svc, tx), config))
    return Reply({"config": shown}, status=201 if is_new else 200)


def update_config(call: Call, svc: Identity) -> dict[str, Any]:
    """PATCH /domains/{domain_id}/config, of it /{group}, of that /{option}"""
    config = given(call.body.config, {})
    shown = call.transact(lambda tx: svc.domain_configs.update(tx, _domain(call, svc, tx), config, *_part(call)))
    return {"config": shown}


def delete_config(call: Call, svc: Identity) -> None:
    """DELETE /domains/{domain_id}/config, of it /{group}, of that /{option}"""
    call.transact(lambda tx: svc.domain_configs.delete(tx, _domain(call, svc, tx), *_part(call)))


def show_default(call: Call, svc: Identity) -> dict[str, Any]:
    """GET /domains/config/default, /domains/config/{group}/default, /domains/config/{group}/{option}/default"""
    return {"config": svc.domain_configs.default(*_part(call))}


_CONFIG = "/domains/{domain_id}/config"
_PARTS = (_CONFIG, f"{_CONFIG}/{{group}}", f"{_CONFIG}/{{group}}/{{option}}")
_DEFAULT = "/domains/config"
ROUTES: tuple[Route[Identity], ...] = (
    Route("PUT", _CONFIG, create_config, "identity:create_domain_config", 201, CONFIG),
    *(
        route
        for path in _PARTS
        for route in (
            Route("GET", path, show_config, "identity:get_domain_config", targeted=True),
            Route("PATCH", path, update_config, "identity:update_domain_config", body=CONFIG),
            Route("DELETE", path, delete_config, "identity:delete_domain_config", 204),
        )
    ),
    *(
        Route("GET", f"{_DEFAULT}{part}/default", show_default, "identity:get_domain_config_default")
        for part in ("", "/{group}", "/{group}/{option}")
    ),
)
