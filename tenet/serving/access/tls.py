"""TLS of the endpoint itself. boto3 sends API keys over https alone, and no address but loopback is served without
it."""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import shlex
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenet.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.x509 import CertificateBuilder, KeyUsage

#: A certificate for tests and one's own machines; browsers refuse longer ones.
_DAYS = 397


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key.

    Args:
        authority: certificate of the authority of our own below which it stands; clients must be told of it.
    """

    certificate: Path
    key: Path
    authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For the server.

        Raises:
            ConfigError: the files are missing or do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2", "http/1.1"])  # best first; `http/opening.py` looks what then comes
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


def exports(authority: Path) -> str:
    """The line that makes clients trust it: boto3, the AWS CLI and Java's setups read the first name, node the second."""
    file = shlex.quote(str(authority.resolve()))
    return f"export AWS_CA_BUNDLE={file} NODE_EXTRA_CA_CERTS={file}"


def self_signed(host: str, folder: Path) -> Certificate:
    """A certificate for localhost, 127.0.0.1, ::1 and `host`, below an authority of its own; made once, and again when it
    is about to end or lacks the host.

    Raises:
        ConfigError: the folder cannot be written.
    """
    files = Certificate(folder / "tls-certificate.pem", folder / "tls-key.pem", folder / "tls-authority.pem")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".tls.lock", "w") as lock:  # of two that start at once, the second takes what the first made
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _good(files, host):
                _make(files, host)
    except OSError as error:
        raise ConfigError(f"serve.tls: {folder} cannot be written ({error.strerror}); give CERT,KEY instead") from None
    return files


def _good(files: Certificate, host: str) -> bool:
    """All three are there and fit each other, and will do for a while."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    assert files.authority is not None
    try:
        authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
        found = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = load_pem_private_key(files.key.read_bytes(), None)
        found.verify_directly_issued_by(authority)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf = not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, OSError, x509.ExtensionNotFound, InvalidSignature):
        return False
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    return leaf and key.public_key() == found.public_key() and found.not_valid_after_utc > soon and _name(host) in names


def _name(host: str) -> object:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _make(files: Certificate, host: str) -> None:
    """An authority that signs one certificate; its key is kept nowhere, so nobody can have it vouch for more.

    What a server shows must be no authority itself (RFC 5280 4.2.1.9): rustls and Python's strict mode refuse that.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    assert files.authority is not None
    signer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    vouches = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    authority = (
        _blank("tenet serve, authority", "tenet serve, authority", signer.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(vouches, critical=False)
        .sign(signer, hashes.SHA256())
    )
    names = list(dict.fromkeys([_name("localhost"), _name("127.0.0.1"), _name("::1"), _name(host)]))
    leaf = (
        _blank("tenet serve", "tenet serve, authority", key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)  # type: ignore[arg-type]
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(vouches), critical=False)
        .sign(signer, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(files.key, secret, 0o600)
    _write(files.certificate, leaf.public_bytes(serialization.Encoding.PEM), 0o644)
    _write(files.authority, authority.public_bytes(serialization.Encoding.PEM), 0o644)


def _blank(subject: str, issuer: str, key: EllipticCurvePublicKey) -> CertificateBuilder:
    """A certificate that says nothing yet but whose it is."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
    )


def _usage(signs: bool) -> KeyUsage:
    """What the key is for: certificates, or connections."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    os.replace(temporary, path)
