"""The certificate of `--tls self-signed`, as clients that look closely see it, and refusals over TLS."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tenet.serving.access.tls import certificate, exports, self_signed
from tests.tenet.serving.conftest import MODEL, echo_server


def trusting(authority: str | Path, strict: bool = True) -> ssl.SSLContext:
    """A client that was given the named file and nothing else."""
    context = ssl.create_default_context(cafile=str(authority))
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def test_what_the_server_shows_is_no_authority() -> None:
    with echo_server(tls="self-signed") as server:
        host, port = server.endpoint.removeprefix("https://").split(":")
        for name in ("localhost", "127.0.0.1"):
            for strict in (False, True):
                with socket.create_connection((host, int(port))) as plain:
                    assert server.authority
                    with trusting(server.authority, strict).wrap_socket(plain, server_hostname=name) as secured:
                        shown = x509.load_der_x509_certificate(secured.getpeercert(True) or b"")
        assert not shown.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert list(shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_authority_vouches_for_one_certificate_and_its_key_is_nowhere(tmp_path: Path) -> None:
    files = self_signed("model.example", tmp_path)
    assert files.authority is not None
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert authority.public_key() != x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_key()
    assert [path.name for path in tmp_path.iterdir() if b"PRIVATE" in path.read_bytes()] == ["tls-key.pem"]
    assert exports(files.authority) == f"export AWS_CA_BUNDLE={files.authority} NODE_EXTRA_CA_CERTS={files.authority}"


@pytest.mark.parametrize("lost", ["tls-authority.pem", "tls-certificate.pem", "tls-key.pem"])
def test_files_that_do_not_fit_are_made_again(tmp_path: Path, lost: str) -> None:
    (tmp_path / "other").mkdir()
    files, other = self_signed("127.0.0.1", tmp_path), self_signed("127.0.0.1", tmp_path / "other")
    (tmp_path / lost).write_bytes((tmp_path / "other" / lost).read_bytes())
    assert self_signed("127.0.0.1", tmp_path) == files and other.authority is not None and files.authority is not None
    files.context()
    names = {path: path.read_bytes() for path in (files.authority, files.certificate, files.key)}
    self_signed("127.0.0.1", tmp_path)
    assert names == {path: path.read_bytes() for path in names}


def test_two_that_start_at_once_show_the_same(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tenet.serving.access.tls import self_signed;"
        "print(self_signed('127.0.0.1', Path(sys.argv[1])).certificate.read_text())"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(3)]
    shown = {process.communicate(timeout=60)[0] for process in started}
    assert len(shown) == 1 and shown.pop().startswith(b"-----BEGIN CERT")
    certificate("self-signed", "127.0.0.1", tmp_path).context()  # type: ignore[union-attr]


@pytest.mark.parametrize("tls", ["", "self-signed"])
@pytest.mark.parametrize(("key", "size", "code"), [("nobody", 3_000_000, b"403"), ("right", 26_000_000, b"400")])
def test_an_early_refusal_is_read_by_who_sends_first(tls: str, key: str, size: int, code: bytes) -> None:
    with echo_server(tls=tls) as server:
        host, port = server.endpoint.rpartition("/")[2].split(":")
        for _ in range(3):
            one: socket.socket = socket.create_connection((host, int(port)), timeout=30)
            if server.authority:
                one = trusting(server.authority).wrap_socket(one, server_hostname=host)
            bearer = server.keys.api_key if key == "right" else key
            head = f"POST /model/{MODEL}/converse HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Length: {size}\r\n\r\n"
            one.sendall(head.encode())
            for _ in range(size // 1_000_000):
                one.sendall(b"x" * 1_000_000)
            start = time.monotonic()
            assert one.recv(65_536).startswith(b"HTTP/1.1 " + code)
            one.close()
            assert time.monotonic() - start < 2
