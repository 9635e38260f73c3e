"""TLS of the endpoint itself. boto3 sends API keys over https alone, and no address but loopback is served without
it."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from tenet.errors import ConfigError

#: A certificate for tests and one's own machines; browsers refuse longer ones.
_DAYS = 397


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key.

    Args:
        own: it signed itself, so clients must be told of it.
    """

    certificate: Path
    key: Path
    own: bool = False

    def context(self) -> ssl.SSLContext:
        """For the server.

        Raises:
            ConfigError: the files are missing or do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"serve.tls {self.certificate},{self.key}: {error}; give CERT,KEY in PEM form, or self-signed"
            ) from None
        return context


def certificate(tls: str, host: str, folder: Path) -> Certificate | None:
    """What `serve.tls` names: "" and "proxy" are none.

    Args:
        tls: "", "proxy", "self-signed" or "CERT,KEY".
        host: address that is served.
        folder: where a self-signed certificate is kept from start to start.

    Raises:
        ConfigError: anything else.
    """
    if tls in ("", "proxy"):
        return None
    if tls == "self-signed":
        return self_signed(host, folder)
    first, comma, second = tls.partition(",")
    if not comma or not first or not second:
        raise ConfigError(f"serve.tls is {tls!r}; self-signed, CERT,KEY (two files), proxy (TLS ends in front), or nothing")
    return Certificate(Path(first), Path(second))


def self_signed(host: str, folder: Path) -> Certificate:
    """A certificate for localhost, 127.0.0.1, ::1 and `host`; made once, and again when it is about to end or lacks the
    host.

    Raises:
        ConfigError: the folder cannot be written.
    """
    files = Certificate(folder / "tls-certificate.pem", folder / "tls-key.pem", own=True)
    if files.certificate.exists() and files.key.exists() and _good(files.certificate, host):
        return files
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make(files, host)
    except OSError as error:
        raise ConfigError(f"serve.tls: {folder} cannot be written ({error.strerror}); give CERT,KEY instead") from None
    return files


def _good(path: Path, host: str) -> bool:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, OSError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    return found.not_valid_after_utc > soon and _name(host) in names


def _name(host: str) -> object:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _make(files: Certificate, host: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tenet serve, self-signed")])
    names = dict.fromkeys([_name("localhost"), _name("127.0.0.1"), _name("::1"), _name(host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)  # type: ignore[arg-type]
        # Clients that are told to trust it want an authority; the path length keeps it from vouching for others.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(files.key, secret, 0o600)
    _write(files.certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    os.replace(temporary, path)
