"""The rules of credentials and policy documents."""

import hashlib

import msgspec

from pileus.identity.credentials import store
from pileus.identity.domain import Credential, PolicyDocument
from pileus.identity.keys import KeyRepository
from pileus.identity.rest import Sent, changes, missing
from pileus.identity.rows import Found, Wanted
from pileus.identity.settings import IdentitySettings
from pileus.kernel.clock import MICROSECONDS, Clock
from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, PileusError
from pileus.kernel.ids import new_hex

EC2 = "ec2"


class Credentials:
    """Credentials and policy documents."""

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

    def create(self, tx: Tx, sent: Sent) -> Credential:
        """Store a credential. One of type ec2 is found by the hash of its access key, so it can exist but once."""
        blob, kind = sent.known["blob"], sent.known["type"]
        if kind == EC2 and sent.get("project_id") is None:
            raise BadRequest("A credential of type ec2 needs a project_id.")
        sealed = store.Sealed(
            id=_ec2_id(blob) if kind == EC2 else new_hex(),
            user_id=sent.known["user_id"],
            project_id=sent.get("project_id"),
            type=kind,
            encrypted_blob=self._sealed(blob),
            extra=sent.extra,
        )
        store.CREDENTIALS.insert(tx, sealed)
        return self._opened(sealed)

    def update(self, tx: Tx, credential: Credential, sent: Sent) -> Credential:
        """Change a credential. BadRequest if it would get another owner, or become ec2 without a project."""
        if sent.known.get("user_id", credential.user_id) != credential.user_id:
            raise BadRequest("The owner of a credential cannot be changed.")
        values = changes(credential, sent, ("type", "project_id"))
        if "blob" in sent.known:
            values["encrypted_blob"] = self._sealed(sent.known["blob"])
        project_id = sent.known.get("project_id", credential.project_id)
        if sent.get("type", credential.type) == EC2 and project_id is None:
            raise BadRequest("A credential of type ec2 needs a project_id.")
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


def _ec2_id(blob: str) -> str:
    try:
        access = msgspec.json.decode(blob).get("access")
    except (msgspec.DecodeError, AttributeError) as err:
        raise BadRequest("The blob of an ec2 credential must be a JSON object.") from err
    if not isinstance(access, str) or not access:
        raise BadRequest("The blob of an ec2 credential must hold an access key.")
    return hashlib.sha256(access.encode()).hexdigest()
