"""The weights store under an S3 prefix, through boto3. Apart from `store.py` so that a folder store needs no boto3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from tenet.errors import StageError
from tenet.files import sha256, write_bytes
from tenet.serving.releases.store import CURRENT, MANIFEST, VERSION, Manifest, Pointer, Store


class S3Store(Store):
    """A store under an S3 prefix. The manifest is put last: a version without one is not complete.

    Args:
        bucket, prefix: where.
        client: a boto3 S3 client.
    """

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self.bucket, self.prefix, self.client = bucket, prefix.strip("/"), client
        self.where = f"s3://{bucket}/{self.prefix}"

    def _key(self, *parts: str) -> str:
        return "/".join(part for part in (self.prefix, *parts) if part)

    def _get(self, *parts: str) -> bytes | None:
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(*parts))["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            self._fail(error, *parts)
        return content

    def _fail(self, error: Exception, *parts: str) -> NoReturn:
        raise StageError(
            f"s3://{self.bucket}/{self._key(*parts)}: {error}; the version served before is still the current one"
        ) from error

    def add(self, folder: Path, manifest: Manifest) -> None:
        try:
            for name in manifest.files:
                self.client.upload_file(str(folder / name), self.bucket, self._key(manifest.version, name))
            self.client.put_object(Bucket=self.bucket, Key=self._key(manifest.version, MANIFEST), Body=manifest.encode())
        except (Boto3Error, BotoCoreError, ClientError) as error:
            self._fail(error, manifest.version)

    def fetch(self, version: str, cache: Path) -> Path:
        content = self._get(version, MANIFEST)
        if content is None:
            raise StageError(f"{self.where}/{version}: no such version in the store; `{CURRENT}` lists those that are kept")
        folder = cache / version
        write_bytes(folder / MANIFEST, content)
        manifest = Manifest.read(folder)
        for name, (size, digest) in manifest.files.items():
            path = folder / name
            if path.is_file() and path.stat().st_size == size and sha256(path) == digest:
                continue
            temporary = folder / f".{name}.tmp"
            self.client.download_file(self.bucket, self._key(version, name), str(temporary))
            os.replace(temporary, path)
        return folder

    def pointer(self) -> Pointer | None:
        content = self._get(CURRENT)
        return Pointer.decode(content, f"{self.where}/{CURRENT}") if content is not None else None

    def point(self, pointer: Pointer) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._key(CURRENT), Body=pointer.encode())

    def sweep(self, pointer: Pointer) -> None:
        pages = self.client.get_paginator("list_objects_v2")
        start = self._key("") + "/" if self.prefix else ""
        for page in pages.paginate(Bucket=self.bucket, Prefix=start):
            for item in page.get("Contents", []):
                version = item["Key"].removeprefix(start).partition("/")[0]
                if VERSION.match(version) and version not in pointer.versions:
                    self.client.delete_object(Bucket=self.bucket, Key=item["Key"])
