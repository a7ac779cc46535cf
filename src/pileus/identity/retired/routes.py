"""Operations of OS-SIMPLE-CERT and OS-PKI, which ended when tokens stopped being signed documents.

Clients of that time asked for certificates and for lists of revoked tokens, to verify tokens on their own. There are
none, and these paths say so to anybody, as Keystone's do.
"""

from pileus.identity.service import Identity
from pileus.kernel.errors import Gone
from pileus.kernel.http import Call, Route
from pileus.kernel.policy import PUBLIC


def say_gone(_call: Call, _svc: Identity) -> None:
    """GET /OS-SIMPLE-CERT/ca, /OS-SIMPLE-CERT/certificates, /auth/tokens/OS-PKI/revoked"""
    raise Gone("This API is no longer available due to the removal of support for PKI tokens.")


ROUTES: tuple[Route[Identity], ...] = tuple(
    Route("GET", path, say_gone, PUBLIC)
    for path in ("/OS-SIMPLE-CERT/ca", "/OS-SIMPLE-CERT/certificates", "/auth/tokens/OS-PKI/revoked")
)
