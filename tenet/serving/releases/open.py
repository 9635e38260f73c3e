"""Which store an address means."""

from __future__ import annotations

from pathlib import Path

from tenet.errors import ConfigError
from tenet.serving.releases.store import FolderStore, Store


def open_store(store: str | Path) -> Store:
    """The store at a folder or at s3://bucket/prefix.

    Raises:
        ConfigError: another kind of address.
    """
    address = str(store)
    if address.startswith("s3://"):
        import boto3  # a folder store needs neither

        from tenet.serving.releases.s3 import S3Store

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError(f"deploy.store is {address!r}: no bucket; write s3://bucket/prefix")
        return S3Store(bucket, prefix, boto3.client("s3"))
    if "://" in address or not address:
        raise ConfigError(f"deploy.store is {address!r}; give a folder or s3://bucket/prefix")
    return FolderStore(Path(address))
