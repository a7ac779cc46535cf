"""Identity as a whole: what the other services and the composition of the cloud see of it."""

from pileus.identity.application_credentials.service import ApplicationCredentials
from pileus.identity.catalog.service import Catalog
from pileus.identity.credentials.service import Credentials
from pileus.identity.directories.service import Directories
from pileus.identity.domain_config.service import DomainConfigs
from pileus.identity.ec2.service import Ec2
from pileus.identity.endpoint_filter.service import EndpointFilters
from pileus.identity.endpoint_policy.service import EndpointPolicies
from pileus.identity.federation.admission import Admission
from pileus.identity.federation.login import FederatedLogins
from pileus.identity.federation.service import Federation
from pileus.identity.generation import Generation
from pileus.identity.limits.service import Limits
from pileus.identity.multifactor.service import Passcodes
from pileus.identity.oauth1.service import OAuth1
from pileus.identity.passwords import Passwords
from pileus.identity.projects.service import Projects
from pileus.identity.roles.service import Roles
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens.scopes import Scopes
from pileus.identity.tokens.service import Tokens
from pileus.identity.trusts.service import Trusts
from pileus.identity.users.compliance import Compliance
from pileus.identity.users.login import Logins
from pileus.identity.users.service import Users
from pileus.kernel.auth import Actor
from pileus.kernel.clock import Clock
from pileus.kernel.db import Database
from pileus.kernel.policy import Policy


class Identity:
    """The Identity service; a `kernel.auth.Authenticator`. Thread-safe.

    `settings`: with absolute paths to the key repositories, which `bootstrap.create_keys` makes.
    `policy`: all rules of the cloud; `context_is_admin` decides who is an administrator.
    `generation`: the machine's (`Generation(run_dir)`), shared by all processes that serve the API there.
    `passwords`: how passwords are hashed, by default as the settings say.
    `region`: this cloud's, whose limits services keep to.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        clock: Clock,
        db: Database,
        policy: Policy,
        generation: Generation,
        passwords: Passwords | None = None,
        *,
        region: str,
    ) -> None:
        self.clock = clock
        self.max_limit = settings.max_limit
        passwords = passwords or Passwords(settings)
        self.projects = Projects(settings, generation)
        compliance = Compliance(settings.security_compliance)
        self.domain_configs = DomainConfigs(settings, clock, generation)
        self.directories = Directories(settings, clock, db, generation, self.domain_configs)
        self.users = Users(self.projects, passwords, compliance, generation, clock, self.directories)
        self.logins = Logins(db, self.users, passwords, compliance, generation, clock, self.directories)
        self.roles = Roles(generation, clock)
        self.catalog = Catalog(generation, all_without_filter=settings.return_all_endpoints_if_no_filter)
        self.endpoint_filters = EndpointFilters(generation)
        self.credentials = Credentials(settings, clock)
        self.endpoint_policies = EndpointPolicies(self.catalog, self.credentials)
        self.oauth1 = OAuth1(settings, clock, generation, self.projects, self.roles)
        self.limits = Limits(settings, self.catalog, self.projects, region)
        self.application_credentials = ApplicationCredentials(settings, clock, generation, passwords, self.roles)
        self.trusts = Trusts(settings, clock, generation, self.users, self.projects, self.roles)
        self.tokens = Tokens(
            settings,
            clock,
            db,
            policy,
            generation,
            users=self.users,
            logins=self.logins,
            roles=self.roles,
            trusts=self.trusts,
            application_credentials=self.application_credentials,
            passcodes=Passcodes(settings, clock, self.credentials),
            oauth1=self.oauth1,
        )
        self.ec2 = Ec2(
            settings,
            clock,
            db,
            credentials=self.credentials,
            users=self.users,
            projects=self.projects,
            trusts=self.trusts,
            application_credentials=self.application_credentials,
            tokens=self.tokens,
            scopes=Scopes(self.roles, self.trusts),
        )
        self.federation = Federation(self.projects, generation)
        admission = Admission(settings, self.federation, self.projects, self.users, self.roles, generation, clock)
        self.federated_logins = FederatedLogins(settings, clock, db, admission, self.tokens)

    def authenticate(self, token: str) -> Actor:
        """The caller that a token stands for. Unauthorized if it is malformed, has ended or is revoked."""
        return self.tokens.authenticate(token)
