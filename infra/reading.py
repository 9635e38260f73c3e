"""Reading the stack's configuration: each function takes a key, checks its value and says what is allowed."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pulumi

from tenet.errors import ConfigError
from tenet.hardware import Instance, instance

#: What the stack files of the repository say where only the owner of an account knows the value. The stack `local` may keep them.
PLACEHOLDERS = ("123456789012", "example.com", "cr-0123456789abcdef")


#: Tags that the provider puts on everything it makes; the bill is told apart by them.
TAGS = ("project", "stack", "owner", "cost-center")


class SettingError(ValueError):
    """A setting is missing or wrong."""


def name(config: pulumi.Config, key: str) -> str:
    """The key as a person writes it."""
    return f"{config.name}:{key}"


def text(config: pulumi.Config, key: str) -> str:
    """A text that must be there."""
    value = config.get(key)
    if not value:
        raise SettingError(f"{name(config, key)} is missing; set it with `pulumi config set {name(config, key)} VALUE`")
    return no_placeholder(name(config, key), value)


def optional_text(config: pulumi.Config, key: str) -> str:
    """A text that may be empty or missing."""
    return no_placeholder(name(config, key), config.get(key) or "")


def texts(config: pulumi.Config, key: str, required: bool = True) -> tuple[str, ...]:
    """A list of texts."""
    value: Any = config.get_object(key)
    if value is None and not required:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingError(f"{name(config, key)} is {value!r}; a list of texts is needed, see Pulumi.dev.yaml")
    return tuple(no_placeholder(name(config, key), item) for item in value)


def number(config: pulumi.Config, key: str) -> int:
    """A whole number."""
    value = text(config, key)
    if not re.fullmatch(r"-?\d+", value):
        raise SettingError(f"{name(config, key)} is {value!r}; a whole number is needed")
    return int(value)


def truth(config: pulumi.Config, key: str) -> bool:
    """true or false."""
    value = text(config, key).lower()
    if value not in ("true", "false"):
        raise SettingError(f"{name(config, key)} is {value!r}; true or false is needed")
    return value == "true"


def default_tags(aws: pulumi.Config, stack: str) -> dict[str, str]:
    """Tags of `aws:defaultTags`. What a launch template starts does not get them from the provider, so the program hands them on."""
    given: Any = aws.get_object("defaultTags")
    tags: Any = given.get("tags") if isinstance(given, dict) else None
    tags = tags if isinstance(tags, dict) else {}
    missing = [key for key in TAGS if not tags.get(key)]
    if missing:
        raise SettingError(
            f"aws:defaultTags is {given!r}; {{tags: {{...}}}} with {', '.join(TAGS)} is needed, see Pulumi.dev.yaml"
        )
    if tags["stack"] != stack:
        raise SettingError(
            f"aws:defaultTags says stack {tags['stack']}; this is stack {stack}, and permissions are tied to the tag"
        )
    return {key: str(value) for key, value in tags.items()}


def network(key: str, value: str) -> ipaddress.IPv4Network:
    """An address range."""
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as error:
        raise SettingError(f"{key} is {value!r}: {error}; write a range such as 10.20.0.0/16") from None


def machine(value: str, key: str) -> Instance:
    """A row of tenet/hardware.py that EC2 rents."""
    try:
        found = instance(value, key)
    except ConfigError as error:
        raise SettingError(str(error)) from None
    if found.name == "local":
        raise SettingError(f"{key} is local; an EC2 instance type is needed, e.g. g6e.xlarge")
    return found


def no_placeholder(key: str, value: str) -> str:
    """The value, unless it is still what the repository's stack file says in place of an owner's."""
    for placeholder in PLACEHOLDERS:
        if placeholder in value and pulumi.get_stack() != "local":
            raise SettingError(f"{key} is {value}, the placeholder of the stack file; set yours: `pulumi config set {key} VALUE`")
    return value
