"""What a new cloud begins with. Run at every start: it adds what is missing and changes nothing else."""

from pileus.api import ENDPOINTS
from pileus.identity import bootstrap as identity_bootstrap
from pileus.settings import Settings
from pileus.supervisor.credentials import Credentials
from pileus.wiring import build


def bootstrap(settings: Settings, credentials: Credentials) -> None:
    """Keys, the administrator, roles, the catalog, the external network, and the types of resources that metadata is
    defined for. The database is migrated already."""
    identity_bootstrap.create_keys(settings.identity)
    cloud = build(settings, credentials.host_secret)
    try:
        with cloud.db.write() as tx:
            admin = identity_bootstrap.bootstrap(
                tx,
                cloud.identity,
                admin_password=credentials.admin_password,
                region=settings.site.region,
                endpoints=ENDPOINTS,
                public_url=settings.site.public_url,
            )
            cloud.networks.bootstrap(tx, admin)
            cloud.images.metadefs.bootstrap(tx)
    finally:
        cloud.close()
