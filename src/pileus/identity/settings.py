"""Settings of identity."""

from dataclasses import dataclass, field
from pathlib import Path

from pileus.identity.federation.oidc.settings import OidcSettings
from pileus.kernel.config import setting


@dataclass(frozen=True)
class SecurityComplianceSettings:
    """`[identity.security_compliance]`: rules about passwords and accounts, under Keystone's names.

    All are off at first. Single users are exempted by their options (`ignore_password_expiry` and so on).
    """

    password_regex: str = setting("", "what a new password must match from its beginning on. Empty: anything does")
    password_regex_description: str = setting(
        "", "that expression in words, for those whose password it refuses. Empty: they are shown the expression"
    )
    password_expires_days: int = setting(
        0, "how long a password that is set from now on may be used. 0: for ever", unit="days", minimum=0
    )
    unique_last_password_count: int = setting(
        0,
        "a password that users choose for themselves differs from so many before it, the present one included."
        " Administrators may set any. 0: it may be any",
        minimum=0,
        maximum=100,
    )
    minimum_password_age: int = setting(
        0,
        "how long users keep a password that they chose before they may choose another. It must be less than"
        " password_expires_days",
        unit="days",
        minimum=0,
    )
    lockout_failure_attempts: int = setting(
        0, "after so many wrong passwords in a row an account is locked. 0: never", minimum=0
    )
    lockout_duration: int = setting(
        1800,
        "how long it is locked. 0: until an administrator sets the user's `enabled` to true",
        unit="seconds",
        minimum=0,
    )
    disable_user_account_days_inactive: int = setting(
        0,
        "whoever has not logged in with a password for so long is disabled, until an administrator enables the user."
        " 0: never",
        unit="days",
        minimum=0,
    )
    change_password_upon_first_use: bool = setting(
        False, "a password that an administrator has set only serves to choose another one"
    )


@dataclass(frozen=True)
class IdentitySettings:
    """`[identity]`: logging in, tokens and passwords."""

    token_lifetime: int = setting(
        3600, "how long a token lives; a token gained from another one ends with it", unit="seconds", minimum=60
    )
    token_provider: str = setting(
        "fernet",
        "how tokens are made. fernet: encrypted, with keys that all machines of the API share. jws: signed, with a"
        " private key for those that log users in and public keys for all. Tokens of the other kind become void",
        choices=("fernet", "jws"),
    )
    token_keys: Path = setting(Path("identity/token-keys"), "the directory of the keys that encrypt tokens")
    max_active_keys: int = setting(
        3,
        "keys that encrypt tokens, the staged one included, that `pileus identity rotate-keys` leaves; more, as long"
        " as there may be tokens that need them",
        minimum=2,
    )
    jws_private_keys: Path = setting(
        Path("identity/jws-keys/private"), "the directory of the key that signs tokens, private.pem"
    )
    jws_public_keys: Path = setting(
        Path("identity/jws-keys/public"), "the directory of the keys that verify signed tokens, all files *.pem"
    )
    credential_keys: Path = setting(
        Path("identity/credential-keys"), "the directory of the keys that encrypt credentials in the database"
    )
    receipt_keys: Path = setting(
        Path("identity/receipt-keys"),
        "the directory of the keys that encrypt receipts of logins that need more methods",
    )
    receipt_lifetime: int = setting(
        300, "how long such a login can be continued", unit="seconds", minimum=30, maximum=3600
    )
    allow_expired_window: int = setting(
        172_800, "how long after its end a token is still shown to services that ask for it", unit="seconds", minimum=0
    )
    totp_previous_windows: int = setting(
        1, "passcodes that are taken though they are not in force any more, each for 30 seconds", minimum=0, maximum=10
    )
    max_application_credentials: int = setting(
        0, "application credentials that a user may have; 0 for any number", minimum=0
    )
    max_redelegation_count: int = setting(
        3, "how often a trust may be handed on from trustee to trustee; 0 for never", minimum=0, maximum=10
    )
    ec2_window: int = setting(
        900, "how far the time in an EC2 signature may be from ours, either way", unit="seconds", minimum=60
    )
    s3_signature_age: int = setting(
        604_800,
        "how old a signature may be that an S3 gateway asks about: the gateway itself knows when a presigned request"
        " ends, and S3 allows seven days",
        unit="seconds",
        minimum=60,
    )
    cached_tokens: int = setting(
        4096, "verified tokens that each process keeps in memory (about 2 KiB each)", minimum=16, maximum=1_000_000
    )
    argon2_memory: int = setting(
        19456,
        "memory that hashing one password takes (OWASP's minimum is 19456 at two passes)",
        unit="KiB",
        minimum=1024,
    )
    argon2_passes: int = setting(2, "passes over that memory", minimum=1, maximum=64)
    argon2_lanes: int = setting(1, "threads that hash one password", minimum=1, maximum=16)
    max_password_length: int = setting(4096, "the longest password", unit="characters", minimum=64, maximum=65536)
    max_project_depth: int = setting(5, "levels of the project tree, the domain included", minimum=1, maximum=20)
    max_limit: int = setting(1000, "the most entries of a page, where a request names a limit", minimum=1)
    enforcement_model: str = setting(
        "flat",
        "how unified limits of a domain and its projects relate. flat: not at all. strict_two_level: projects are"
        " directly below their domain, and the domain's limits hold for each of them and for all together",
        choices=("flat", "strict_two_level"),
    )
    oauth1_request_token_duration: int = setting(
        28800, "how long users have to authorise what a consumer asks for. 0: for ever", unit="seconds", minimum=0
    )
    oauth1_access_token_duration: int = setting(
        86400, "how long a consumer may act for a user then. 0: until it is taken back", unit="seconds", minimum=0
    )
    return_all_endpoints_if_no_filter: bool = setting(
        True, "whether a project that is associated with no endpoints has all of them in its catalog, or none"
    )
    trusted_dashboard: tuple[str, ...] = setting(
        (), "the addresses, to the letter, that may be given the tokens of those who log in with a browser"
    )
    default_authorization_ttl: int = setting(
        0,
        "how long the groups of federated users last beyond a login at the least, where their identity provider says"
        " nothing else. 0: as long as the token",
        unit="minutes",
        minimum=0,
    )
    remote_id_attribute: str = setting(
        "HTTP_OIDC_ISS",
        "the attribute that must be among the remote ids of an identity provider which has some, where its protocol"
        " names no other",
    )
    directory_refresh: float = setting(
        60.0,
        "how old what is known of an LDAP server's users and groups may be when they are listed; whoever logs in is"
        " always read anew",
        unit="seconds",
        minimum=0,
    )
    oidc: dict[str, OidcSettings] = setting(
        {}, "the OpenID Connect providers behind identity providers, each a section [identity.oidc.NAME]"
    )
    security_compliance: SecurityComplianceSettings = field(default_factory=SecurityComplianceSettings)
