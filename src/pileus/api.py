"""All public services and the agents' API as one WSGI application."""

from typing import Any

from pileus.compute import api as compute_api
from pileus.hosts import routes as hosts_routes
from pileus.hosts.routes import AgentApi
from pileus.identity import routes as identity_routes
from pileus.image import routes as image_routes
from pileus.kernel.app import Dispatcher, make_app
from pileus.kernel.http import Service
from pileus.kernel.rpc import host_secret
from pileus.network import routes as network_routes
from pileus.settings import Settings
from pileus.wiring import Cloud, build, cloud_secret

ENDPOINTS = {
    "identity": "/identity/v3",
    "image": "/image",
    "compute": "/compute/v2.1",
    "network": "/network",
}
"""The catalog: service type -> path below the cloud's address. Clients find the versions below it themselves."""


def services(cloud: Cloud, secret: str) -> tuple[Service[Any], ...]:
    """Every service with its route table."""
    agent_api = AgentApi(
        hosts=cloud.hosts,
        open_image=cloud.images.open,
        secret_of=lambda host: host_secret(secret, host),
        keep_password=cloud.compute.servers.keep_password,
    )
    return (
        identity_routes.make_service(cloud.identity),
        image_routes.make_service(cloud.images),
        *compute_api.make_services(cloud.compute_api),
        network_routes.make_service(cloud.networks),
        hosts_routes.make_service(agent_api),
    )


def make_api(cloud: Cloud, secret: str) -> Any:
    """The application. `secret`: the cloud's own."""
    dispatcher = Dispatcher(cloud.db, cloud.policy, cloud.identity, cloud.settings.site.public_url)
    return make_app(dispatcher, services(cloud, secret))


def make_wsgi_app(settings: Settings) -> Any:
    """The application of an API process that was just forked."""
    secret = cloud_secret(settings)
    return make_api(build(settings, secret), secret)
