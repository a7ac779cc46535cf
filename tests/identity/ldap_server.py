"""A real LDAP server for tests: Debian's slapd, run by hand on a port of the loopback interface, with its own files."""

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.real_things import require

SUFFIX = "dc=house,dc=example"
READER = f"cn=reader,{SUFFIX}"
READER_PASSWORD = "the reader's password"
PATIENCE = 15.0
_CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {place}/slapd.pid
TLSCACertificateFile {place}/ca.pem
TLSCertificateFile {place}/server.pem
TLSCertificateKeyFile {place}/server.key
sizelimit size.soft=5 size.hard=5 size.prtotal=unlimited
database mdb
suffix "{suffix}"
directory {place}/data
rootdn "cn=root,{suffix}"
rootpw "the root's password"
limits dn.exact="{reader}" size.soft=5 size.hard=5 size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{reader}" read by * none
"""
_TREE = f"""
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: house
o: House

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {READER_PASSWORD}

dn: ou=Users,{SUFFIX}
objectClass: organizationalUnit
ou: Users

dn: ou=UserGroups,{SUFFIX}
objectClass: organizationalUnit
ou: UserGroups
"""


class LdapServer:
    """The server. `url`: where it answers while it runs. Entries are added while it is stopped, or by `modify`."""

    def __init__(self, place: Path) -> None:
        require("slapd", "slapadd", "ldapmodify")
        self.place = place
        (place / "data").mkdir(parents=True)
        _make_certificates(place)
        self._config = place / "slapd.conf"
        self._config.write_text(_CONFIG.format(place=place, suffix=SUFFIX, reader=READER))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"ldap://127.0.0.1:{self._port}"
        self.ca_file = place / "ca.pem"
        self._process: subprocess.Popen[bytes] | None = None
        self.add(_TREE)

    def add(self, ldif: str) -> None:
        """Add entries, while the server is stopped."""
        command = [_program("slapadd"), "-f", str(self._config)]
        subprocess.run(command, input=ldif.encode(), check=True, capture_output=True)

    def modify(self, ldif: str) -> None:
        """Change entries (LDIF with changetype), while the server runs."""
        command = ["ldapmodify", "-x", "-H", self.url, "-D", f"cn=root,{SUFFIX}", "-w", "the root's password"]
        subprocess.run(command, input=ldif.encode(), check=True, capture_output=True)

    def start(self) -> None:
        """Run the server, and wait until it answers."""
        command = [_program("slapd"), "-d", "0", "-h", self.url, "-f", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End the server; `start` runs it again."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None
    return found


def user(cn: str, sn: str, password: str = "", **attributes: str) -> str:
    """An entry of a person, as LDIF."""
    lines = [f"dn: cn={cn},ou=Users,{SUFFIX}", "objectClass: inetOrgPerson", f"cn: {cn}", f"sn: {sn}"]
    lines += [f"userPassword: {password}"] if password else []
    lines += [f"{name}: {value}" for name, value in attributes.items()]
    return "\n".join([*lines, "", ""])


def group(cn: str, ou: str, *members: str) -> str:
    """An entry of a group of persons, as LDIF."""
    lines = [f"dn: cn={cn},ou=UserGroups,{SUFFIX}", "objectClass: groupOfNames", f"cn: {cn}", f"ou: {ou}"]
    lines += [f"member: cn={member},ou=Users,{SUFFIX}" for member in members]
    return "\n".join([*lines, "", ""])


def _make_certificates(place: Path) -> None:
    """An authority, and the server's certificate for 127.0.0.1."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority of the tests")])
    server = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    for name, key, file, extension in (
        (authority, keys[0], "ca.pem", x509.BasicConstraints(ca=True, path_length=None)),
        (server, keys[1], "server.pem", address),
    ):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(keys[0], hashes.SHA256())
        )
        (place / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "server.key").write_bytes(keys[1].private_bytes(*pem))
