"""EC2 credentials, and tokens for requests that were signed with them."""

from pileus.identity.application_credentials.service import ApplicationCredentials
from pileus.identity.credentials.service import Credentials, is_within
from pileus.identity.delegation import EC2_CREDENTIAL
from pileus.identity.domain import Credential, User
from pileus.identity.ec2.domain import EC2, Ec2Credential, credential_id, new_blob, opened
from pileus.identity.ec2.signatures import SignedRequest, check, check_s3
from pileus.identity.projects.service import Projects
from pileus.identity.rest import Sent, missing
from pileus.identity.settings import IdentitySettings
from pileus.identity.tokens.scopes import Place, Scopes
from pileus.identity.tokens.service import Tokens
from pileus.identity.tokens.verified import Verified
from pileus.identity.trusts.service import Trusts
from pileus.identity.users.service import Users
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import Unauthorized

# Well formed, and nobody's: an unknown access key costs the same as a wrong signature.
_NOBODY = Ec2Credential(id="", user_id="", project_id="", access="", secret="0" * 32)


class Ec2:
    """EC2 credentials are kept among the others, with the type ec2.

    A signature is good for what its credential's maker had: a credential that was made with a trust or an application
    credential gives tokens of that same trust or credential, as long as there is such.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        clock: Clock,
        db: Database,
        *,
        credentials: Credentials,
        users: Users,
        projects: Projects,
        trusts: Trusts,
        application_credentials: ApplicationCredentials,
        tokens: Tokens,
        scopes: Scopes,
    ) -> None:
        self._window = settings.ec2_window * MICROSECONDS
        self._s3_age = settings.s3_signature_age * MICROSECONDS
        self._clock = clock
        self._db = db
        self._credentials = credentials
        self._users = users
        self._projects = projects
        self._trusts = trusts
        self._application_credentials = application_credentials
        self._tokens = tokens
        self._scopes = scopes

    # --- credentials -----------------------------------------------------------------------------------------

    def create(self, tx: Tx, actor: Actor, user_id: str, project_id: str) -> Credential:
        """Make a credential with random keys. NotFound for a user or project that is not there."""
        if self._users.find(tx, user_id) is None:
            raise missing("user", user_id)
        if self._projects.find(tx, project_id) is None:
            raise missing("project", project_id)
        known = {"type": EC2, "user_id": user_id, "project_id": project_id, "blob": new_blob()}
        return self._credentials.create(tx, actor, Sent(known, {}))

    def of_user(self, tx: Tx, actor: Actor, user_id: str) -> list[Ec2Credential]:
        """A user's EC2 credentials, as far as the caller may handle them."""
        found = [one for one in self._credentials.of_type(tx, user_id, EC2) if is_within(actor, one)]
        return [ec2 for ec2 in map(opened, found) if ec2 is not None]

    def find(self, tx: Tx, user_id: str, access: str) -> Credential | None:
        """A user's credential with this access key."""
        credential = self._credentials.find(tx, credential_id(access))
        usable = credential is not None and credential.user_id == user_id and opened(credential) is not None
        return credential if usable else None

    def delete(self, tx: Tx, credential: Credential) -> None:
        """Delete a credential: nothing that was signed with it is taken any more. Tokens that it gave stay valid."""
        self._credentials.delete(tx, credential)

    # --- signatures ------------------------------------------------------------------------------------------

    def login(self, request: SignedRequest) -> tuple[str, Verified]:
        """A token for whoever signed the request, and its meaning. Unauthorized unless the signature is right."""
        found = self._known(request.access)
        check(request, (found or _NOBODY).secret, self._clock.now(), self._window)
        return self._token(found)

    def s3_login(self, access: str, token: str, signature: str) -> Verified:
        """What a token for whoever signed an S3 request would mean; there is none for the caller to keep."""
        found = self._known(access)
        check_s3(token, signature, (found or _NOBODY).secret, self._clock.now(), self._window, self._s3_age)
        return self._token(found)[1]

    def _known(self, access: str) -> Ec2Credential | None:
        with self._db.read() as tx:
            credential = self._credentials.find(tx, credential_id(access))
        found = None if credential is None else opened(credential)
        return found if found is not None and found.access == access else None

    def _token(self, credential: Ec2Credential | None) -> tuple[str, Verified]:
        if credential is None:
            raise Unauthorized("Invalid EC2 signature.")
        with self._db.read() as tx:
            user, place = self._place(tx, credential)
        return self._tokens.mint(user, (EC2_CREDENTIAL,), place)

    def _place(self, tx: Tx, credential: Ec2Credential) -> tuple[User, Place]:
        """Who a credential logs in, and where; Unauthorized if what it is bound to is gone, or is not its owner's."""
        if credential.trust_id is not None:
            return self._place_of_trust(tx, credential)
        user = self._users.find(tx, credential.user_id)
        if user is None:
            raise Unauthorized("The EC2 credential's user is not there.")
        if credential.app_cred_id is not None:
            limit = self._application_credentials.find(tx, credential.app_cred_id, user.id)
            if limit is None or self._application_credentials.has_ended(limit):
                raise Unauthorized("The EC2 credential's application credential is not there, or has ended.")
            if limit.project_id != credential.project_id:
                raise Unauthorized("EC2 credential project does not match the application credential project.")
            return user, self._scopes.of_application_credential(tx, limit)
        project = self._projects.find(tx, credential.project_id)
        if project is None:
            raise Unauthorized("The EC2 credential's project is not there.")
        return user, Place("project", project)

    def _place_of_trust(self, tx: Tx, credential: Ec2Credential) -> tuple[User, Place]:
        trust = self._trusts.find(tx, credential.trust_id or "")
        if trust is None or trust.project_id != credential.project_id:
            raise Unauthorized("The EC2 credential's trust is not there, or is not for its project.")
        maker = trust.trustor_user_id if trust.impersonation else trust.trustee_user_id
        trustee = self._users.find(tx, trust.trustee_user_id)
        if maker != credential.user_id or trustee is None:
            raise Unauthorized("The EC2 credential's trust is not its owner's.")
        return trustee, self._scopes.of_trust(tx, trust, trustee)
