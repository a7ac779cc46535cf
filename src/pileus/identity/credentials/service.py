"""The rules of credentials and policy documents."""

from pileus.identity.credentials import store
from pileus.identity.delegation import is_delegated
from pileus.identity.domain import Credential, PolicyDocument
from pileus.identity.ec2.domain import EC2, bind, bound_by, bounds_in, content, credential_id
from pileus.identity.keys import KeyRepository
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.auth import Actor
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Forbidden, PileusError
from pileus.kernel.ids import new_hex


class Credentials:
    """Credentials and policy documents.

    A token that was gained with less than the user's own login handles the EC2 credentials that were made with the
    same, and no others: with the secrets of those it would be free of its limits.
    """

    def __init__(self, settings: IdentitySettings, clock: Clock) -> None:
        self._keys = KeyRepository(settings.credential_keys)
        self._clock = clock

    def find(self, tx: Tx, credential_id: str) -> Credential | None:
        """A credential, its blob decrypted."""
        sealed = store.CREDENTIALS.get(tx, credential_id)
        return None if sealed is None else self._opened(sealed)

    def page(self, tx: Tx, wanted: Wanted, owner: str | None) -> Found[Credential]:
        """A page of all credentials, or of those that one user owns."""
        found = store.CREDENTIALS.page(tx, wanted, *([store.of_user(owner)] if owner is not None else []))
        return Found([self._opened(sealed) for sealed in found.things], found.more)

    def of_type(self, tx: Tx, user_id: str, kind: str) -> list[Credential]:
        """All credentials of a type that a user has."""
        return [self._opened(sealed) for sealed in store.of_type(tx, user_id, kind)]

    def create(self, tx: Tx, actor: Actor, sent: Sent) -> Credential:
        """Store a credential. One of type ec2 is found by the hash of its access key, so it can exist but once.

        It is bound to what the caller's token was gained with. Forbidden for one of another user or project than the
        token's then, and of any other type, since nothing would bind it.
        """
        blob, kind, user_id = sent.known["blob"], sent.known["type"], sent.known["user_id"]
        project_id = sent.get("project_id")
        if kind == EC2 and project_id is None:
            raise BadRequest("A credential of type ec2 needs a project_id.")
        if is_delegated(actor.methods, actor.trust_id) and (kind, user_id, project_id) != (
            EC2, actor.user_id, actor.project_id,
        ):  # fmt: skip
            raise Forbidden("A token that was gained through a trust or a credential can only make EC2 credentials"
                            " for its own user and project.")  # fmt: skip
        if kind == EC2:
            blob = bind(blob, bound_by(actor))
        sealed = store.Sealed(
            id=credential_id(content(blob)["access"]) if kind == EC2 else new_hex(),
            user_id=user_id,
            project_id=project_id,
            type=kind,
            encrypted_blob=self._sealed(blob),
            extra=sent.extra,
        )
        store.CREDENTIALS.insert(tx, sealed)
        return self._opened(sealed)

    def update(self, tx: Tx, credential: Credential, sent: Sent) -> Credential:
        """Change a credential. BadRequest if it would get another owner, or become ec2 without a project.

        Forbidden for what would free it from what it is bound to.
        """
        if sent.known.get("user_id", credential.user_id) != credential.user_id:
            raise BadRequest("The owner of a credential cannot be changed.")
        values = changes(credential, sent, ("type", "project_id"))
        kind, project_id = sent.get("type", credential.type), sent.known.get("project_id", credential.project_id)
        bounds = bounds_in(credential.blob) if credential.type == EC2 else {}
        if bounds and (kind, project_id) != (credential.type, credential.project_id):
            raise Forbidden("The type and project of a credential that is bound to a trust or another credential"
                            " cannot be changed.")  # fmt: skip
        if kind == EC2 and project_id is None:
            raise BadRequest("A credential of type ec2 needs a project_id.")
        if kind == EC2:
            sent_blob = sent.known.get("blob", credential.blob)
            values["encrypted_blob"] = self._sealed(bind(sent_blob, bounds))
        elif "blob" in sent.known:
            values["encrypted_blob"] = self._sealed(sent.known["blob"])
        store.CREDENTIALS.change(tx, credential.id, values)
        found = self.find(tx, credential.id)
        if found is None:
            raise missing("credential", credential.id)
        return found

    def delete(self, tx: Tx, credential: Credential) -> None:
        """Delete a credential."""
        store.CREDENTIALS.delete(tx, credential.id)

    def _sealed(self, blob: str) -> str:
        return self._keys.encrypt(blob.encode(), self._clock.now() // MICROSECONDS).decode()

    def _opened(self, sealed: store.Sealed) -> Credential:
        blob = self._keys.decrypt(sealed.encrypted_blob.encode())
        if blob is None:
            raise PileusError(f"The credential {sealed.id} cannot be decrypted with the keys of this cloud.")
        return Credential(**sealed.fields(), blob=blob.decode())

    # --- policy documents ------------------------------------------------------------------------------------

    def policy(self, tx: Tx, policy_id: str) -> PolicyDocument:
        """A policy document, or NotFound."""
        document = store.POLICIES.get(tx, policy_id)
        if document is None:
            raise missing("policy", policy_id)
        return document

    def policies(self, tx: Tx, wanted: Wanted) -> Found[PolicyDocument]:
        """A page of policy documents."""
        return store.POLICIES.page(tx, wanted)

    def create_policy(self, tx: Tx, sent: Sent) -> PolicyDocument:
        """Store a policy document."""
        document = PolicyDocument(id=new_hex(), type=sent.known["type"], blob=sent.known["blob"], extra=sent.extra)
        store.POLICIES.insert(tx, document)
        return document

    def update_policy(self, tx: Tx, document: PolicyDocument, sent: Sent) -> PolicyDocument:
        """Change a policy document."""
        store.POLICIES.change(tx, document.id, changes(document, sent, ("type", "blob")))
        return self.policy(tx, document.id)

    def delete_policy(self, tx: Tx, document: PolicyDocument) -> None:
        """Delete a policy document."""
        store.POLICIES.delete(tx, document.id)


def is_within(actor: Actor, credential: Credential) -> bool:
    """Whether a credential is bound to what the caller's token was gained with; any is, for the user's own login."""
    if not is_delegated(actor.methods, actor.trust_id):
        return True
    bounds = bound_by(actor)
    return credential.type == EC2 and bool(bounds) and bounds_in(credential.blob) == bounds
