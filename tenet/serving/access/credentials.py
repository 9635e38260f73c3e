"""Who may call.

One file, readable by its owner only. Signing secrets stand in it as they are (the signature needs them), API keys as
hashes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError


@dataclass(frozen=True)
class Credentials:
    """Keys that are accepted.

    Args:
        access_keys: access key id -> secret, for SigV4.
        api_keys: name -> SHA-256 of the key, in hex. The keys are random and long, so a plain hash cannot be guessed
            back.
    """

    access_keys: dict[str, str] = field(default_factory=dict)
    api_keys: dict[str, str] = field(default_factory=dict)

    def api_key_name(self, key: str) -> str | None:
        """The name of an API key; every hash is compared, in constant time."""
        digest = _digest(key)
        found = None
        for name, stored in self.api_keys.items():
            if hmac.compare_digest(digest, stored):
                found = name
        return found


@dataclass(frozen=True)
class Keys:
    """What a client needs. The API key is known only in the process that made it."""

    access_key: str
    secret_key: str
    api_key: str = ""

    def exports(self, endpoint: str, trust: str = "") -> str:
        """Lines to paste into a shell, after which boto3 and the AWS CLI call the endpoint.

        Args:
            endpoint: its address.
            trust: the line that makes clients trust its certificate, where that is its own.
        """
        lines = [
            f"export AWS_ACCESS_KEY_ID={self.access_key}",
            f"export AWS_SECRET_ACCESS_KEY={self.secret_key}",
            "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1",
            f"export AWS_ENDPOINT_URL_BEDROCK_RUNTIME={endpoint} AWS_ENDPOINT_URL_BEDROCK={endpoint}",
        ]
        if trust:
            lines.append(trust)
        if self.api_key:
            # boto3 refuses to send it over http, and prefers it over a key pair when it is set: offered, not set.
            wants = "" if endpoint.startswith("https:") else " (boto3 wants https for it: --tls self-signed)"
            lines.append(f"# or an API key, shown only now{wants}: export AWS_BEARER_TOKEN_BEDROCK={self.api_key}")
        return "\n".join(lines)


def load_or_create(path: Path) -> tuple[Credentials, Keys]:
    """Read the file, or make it with one key pair and one API key.

    Raises:
        ConfigError: others can read the file, or it is not what this program writes.
    """
    if path.exists():
        credentials = load(path)
        access_key, secret = next(iter(credentials.access_keys.items()), ("", ""))
        return credentials, Keys(access_key, secret)
    keys = Keys(f"TENET{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), f"tenet-api-key-{secrets.token_urlsafe(32)}")
    content = {"access_keys": {keys.access_key: keys.secret_key}, "api_keys": {"first": _digest(keys.api_key)}}
    if not _create(path, json.dumps(content, indent=2) + "\n"):
        return load_or_create(path)  # another process was faster
    return load(path), keys


def load(path: Path) -> Credentials:
    """Read a credentials file.

    Raises:
        ConfigError: missing, readable by others, or malformed.
    """
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise ConfigError(f"{path}: mode is {mode:04o}, others could read the secrets; run `chmod 600 {path}`")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give another --credentials file") from None
    except ValueError:
        raise ConfigError(f"{path}: not valid JSON; move it away and start again, a new one is made") from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: must be an object with access_keys and api_keys; move it away and start again, a new one is made"
        )
    return Credentials(_strings(content, "access_keys", path), _strings(content, "api_keys", path))


def _strings(content: dict[str, Any], key: str, path: Path) -> dict[str, str]:
    value = content.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(item, str) and item for item in value.values()):
        raise ConfigError(f"{path}: {key} must map names to text; move the file away and start again, a new one is made")
    return dict(value)


def _create(path: Path, content: str) -> bool:
    """Write a file that never existed with wider rights, whole or not at all; False when it is there already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write_new(path, content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); give another --credentials file") from None


def _write_new(path: Path, content: str) -> bool:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # unlike a rename, refuses to replace the file of a faster process
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return True


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
