"""Settings of one OpenID Connect provider."""

from dataclasses import dataclass
from pathlib import Path

from pileus.kernel.config import setting

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True)
class OidcSettings:
    """`[identity.oidc.NAME]`: the OpenID Connect provider that is behind the identity provider NAME."""

    issuer: str = setting(
        "", "the provider's issuer identifier, to the letter: an https address (http on this machine alone)"
    )
    client_id: str = setting("", "this cloud's name at the provider")
    client_secret: str = setting("", "this cloud's secret at the provider; empty: it has none", secret=True)
    scope: str = setting("openid profile email", "what is asked for at logins with a browser")
    audiences: tuple[str, ...] = setting(
        (), "audiences of tokens that are accepted beside client_id: who else tokens for this cloud may be made for"
    )
    algorithms: tuple[str, ...] = setting(
        ("RS256", "ES256"), f"signatures that are accepted, of {', '.join(ALGORITHMS)}"
    )
    userinfo: bool = setting(True, "ask the provider's userinfo endpoint for what tokens do not hold")
    ca_file: Path = setting(Path(), "certificates (PEM) that the provider is verified with; empty: the system's")
    timeout: float = setting(10.0, "how long the provider may take to answer", unit="seconds", minimum=0.1)
    leeway: int = setting(30, "how far the provider's clock may be off", unit="seconds", minimum=0, maximum=300)
