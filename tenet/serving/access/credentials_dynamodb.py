"""Callers' keys in a DynamoDB table, for a fleet of servers: a key that is added or taken away counts everywhere within
a minute.

    python -m tenet.serving.access.credentials_dynamodb add TABLE alice        # prints her keys, once
    python -m tenet.serving.access.credentials_dynamodb remove TABLE alice
    python -m tenet.serving.access.credentials_dynamodb list TABLE

One item for each key: `id` (access key id, or `api:` and the owner's name), `owner`, and `secret` (a signature cannot
be checked without it) or `sha256` (of an API key). `tenet serve --credentials dynamodb:TABLE` reads them; it needs
`dynamodb:Scan` alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tenet.errors import ConfigError
from tenet.serving.access.credentials import Credentials, Keys

log = logging.getLogger("tenet.serving")
REFRESH_SECONDS = 60.0


@dataclass(frozen=True)
class KeyTable:
    """A table of keys.

    Args:
        name: of the table; its partition key is the text `id`.
        client: boto3 DynamoDB client.
    """

    name: str
    client: Any

    def read(self) -> Credentials:
        """Every key that is accepted now.

        Raises:
            ConfigError: the table cannot be read, or holds what this program does not write.
        """
        access_keys: dict[str, str] = {}
        api_keys: dict[str, str] = {}
        for item in self._items():
            key, secret, digest = (item.get(part, {}).get("S", "") for part in ("id", "secret", "sha256"))
            if secret:
                access_keys[key] = secret
            elif digest and key.startswith("api:"):
                api_keys[key.removeprefix("api:")] = digest
            else:
                raise ConfigError(
                    f"table {self.name}: item {key!r} has neither secret nor sha256; delete it and add the key again"
                )
        return Credentials(access_keys, api_keys)

    def owners(self) -> dict[str, list[str]]:
        """Owner -> ids of his keys."""
        found: dict[str, list[str]] = {}
        for item in self._items():
            found.setdefault(item.get("owner", {}).get("S", ""), []).append(item["id"]["S"])
        return found

    def add(self, owner: str) -> Keys:
        """Make a key pair and an API key for somebody who has none yet.

        Raises:
            ConfigError: the name is taken, or the table cannot be written.
        """
        keys = Keys(
            f"TENET{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30), f"tenet-api-key-{secrets.token_urlsafe(32)}"
        )
        digest = hashlib.sha256(keys.api_key.encode()).hexdigest()
        items = [{"id": f"api:{owner}", "sha256": digest}, {"id": keys.access_key, "secret": keys.secret_key}]
        puts = [
            {
                "TableName": self.name,
                "Item": {name: {"S": value} for name, value in {**item, "owner": owner}.items()},
                "ConditionExpression": "attribute_not_exists(id)",
            }
            for item in items
        ]
        with _told(f"table {self.name}"):
            try:
                self.client.transact_write_items(TransactItems=[{"Put": put} for put in puts])
            except self.client.exceptions.TransactionCanceledException:
                raise ConfigError(
                    f"table {self.name}: {owner!r} has keys already; remove them first, or choose another name"
                ) from None
        return keys

    def remove(self, owner: str) -> list[str]:
        """Take all keys of somebody away; returns their ids.

        Raises:
            ConfigError: there are none.
        """
        found = self.owners().get(owner, [])
        if not found:
            raise ConfigError(f"table {self.name}: {owner!r} has no keys; `list` shows who has")
        with _told(f"table {self.name}"):
            for key in found:
                self.client.delete_item(TableName=self.name, Key={"id": {"S": key}})
        return found

    def follow(self, changed: Callable[[Credentials], None], seconds: float = REFRESH_SECONDS) -> threading.Event:
        """Read again and again in a thread of its own; set the event to stop.

        A table that cannot be read for a while leaves the last keys in force: an outage there must not become one here.
        """
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(seconds):
                try:
                    changed(self.read())
                except ConfigError as error:
                    log.error("keys: %s; those read before stay in force", error)

        threading.Thread(target=run, name="tenet-keys", daemon=True).start()
        return stop

    def _items(self) -> list[dict[str, Any]]:
        pages = self.client.get_paginator("scan")
        with _told(f"table {self.name}"):
            return [item for page in pages.paginate(TableName=self.name, ConsistentRead=True) for item in page["Items"]]


def open_table(name: str) -> KeyTable:
    """A table in the region of the environment.

    Raises:
        ConfigError: no name, or no region.
    """
    if not name:
        raise ConfigError("--credentials dynamodb: needs a table's name, e.g. dynamodb:tenet-prod-keys")
    import boto3

    with _told(f"table {name}"):
        return KeyTable(name, boto3.client("dynamodb"))


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of the AWS client as ours; their messages hold codes and names, never items."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise ConfigError(f"{what}: {error}; check its name, AWS_REGION and the right to dynamodb:Scan") from None


def main(words: list[str] | None = None) -> int:
    """See the module; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m tenet.serving.access.credentials_dynamodb", description="Callers' keys in a DynamoDB table"
    )
    parser.add_argument("command", choices=("add", "remove", "list"))
    parser.add_argument("table")
    parser.add_argument("owner", nargs="?", default="")
    chosen = parser.parse_args(words)
    try:
        if chosen.command != "list" and not chosen.owner:
            raise ConfigError(f"{chosen.command}: whose keys? Give a name after the table")
        table = open_table(chosen.table)
        if chosen.command == "add":
            print(table.add(chosen.owner).exports("https://YOUR-ENDPOINT"))
        elif chosen.command == "remove":
            print(f"removed {', '.join(table.remove(chosen.owner))}; servers refuse them within {REFRESH_SECONDS:.0f} s")
        else:
            print("\n".join(f"{owner}: {', '.join(ids)}" for owner, ids in sorted(table.owners().items())) or "no keys")
    except ConfigError as error:
        print(f"tenet: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
