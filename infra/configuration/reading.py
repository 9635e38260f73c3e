"""Reading a stack's configuration: what is missing, misspelt, mistyped or a placeholder is collected, so that all of it
is told at once.

Each message names the key, the value and a command that puts it right as it stands, but for the word VALUE.
"""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import re
import shlex
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi.runtime import config as engine

from repository import ConfigError, Instance, instance

#: What the stack files of the repository say where only the owner of an account knows the value. The stack `local` may
#: keep them.
PLACEHOLDERS = ("123456789012", "example.com", "cr-0123456789abcdef")
#: Tags that the provider puts on everything it makes; the bill is told apart by them.
TAGS = ("project", "stack", "owner", "cost-center")
#: Configuration that is not the program's: the engine's own, and the provider's version and origin.
FOREIGN = ("pulumi:", "aws:version", "aws:pluginDownloadURL")


class SettingError(pulumi.RunError):
    """A setting is missing or wrong. The engine shows the message alone: it is for the person who typed the setting."""


def set_command(key: str, text: bool = True) -> str:
    """The command that sets a key; a place in a list or mapping, `tenet:reservations[0].id`, is a path to Pulumi.

    Args:
        text: digits are a text too; otherwise a path takes them for a number.
    """
    path = f"--path {'--type string ' if text else ''}" if re.search(r"[\[.]", key) else ""
    return f"`pulumi config set --stack {pulumi.get_stack()} {path}{shlex.quote(key)} VALUE`"


class Reader:
    """The configuration of the stack that is run, as `namespace:key`.

    A reading method gives a stand-in where it has noted a problem; `finish` raises then, before anybody uses it.
    """

    def __init__(self) -> None:
        self.given: dict[str, Any] = {**engine.get_config_env(), **engine.CONFIG.get()}
        self.problems: list[str] = []
        self.asked: set[str] = set()

    def finish(self) -> None:
        """All keys were read: what nobody asked for is misspelt.

        Raises:
            SettingError: there were problems; names each.
        """
        self.problems += [self._misspelt(key) for key in sorted(self.given) if self._foreign(key)]
        if len(self.problems) == 1:
            raise SettingError(self.problems[0])
        if self.problems:
            lines = "\n".join(f"  - {problem}" for problem in self.problems)
            raise SettingError(f"{len(self.problems)} settings of stack {pulumi.get_stack()} must be put right:\n{lines}")

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self._value(key)
        if not value:
            self.problems.append(f"{key} is missing; set it: {set_command(key)}")
            return ""
        return self.no_placeholder(key, value)

    def optional_text(self, key: str) -> str:
        """A text that may be empty or missing."""
        return self.no_placeholder(key, self._value(key) or "")

    def texts(self, key: str, needed: str = "", least: int = 1) -> tuple[str, ...]:
        """A list of texts.

        Args:
            needed: why it cannot be empty; nothing where it can.
            least: how many are needed then.
        """
        value = self.object(key)
        if not value and needed:
            commands = ", ".join(set_command(f"{key}[{i}]") for i in range(least))
            self.problems.append(f"{key} is missing; {needed}: {commands}")
            return ()
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            example = set_command(f"{key}[0]")
            self.problems.append(f"{key} is {value!r}; a list of texts is needed, see Pulumi.dev.yaml, or set one: {example}")
            return ()
        return tuple(self.no_placeholder(f"{key}[{i}]", item) for i, item in enumerate(value))

    def number(self, key: str) -> int:
        """A whole number."""
        return int(self._matching(key, r"-?\d+", "a whole number is needed") or 0)

    def truth(self, key: str) -> bool:
        """true or false."""
        return self._matching(key, "(?i)true|false", "true or false is needed").lower() == "true"

    def object(self, key: str) -> Any:
        """A list or mapping; None where it is missing or no JSON."""
        self.asked.add(key)
        try:
            return pulumi.Config(key.partition(":")[0]).get_object(key.partition(":")[2])
        except pulumi.ConfigTypeError:
            return self._value(key)

    def machine(self, key: str) -> Instance:
        """A row of tenet/hardware.py that EC2 rents."""
        try:
            return machine(self.text(key), key)
        except SettingError as error:
            if not any(problem.startswith(key) for problem in self.problems):
                self.problems.append(str(error))
            return instance("local")

    def default_tags(self, key: str = "aws:defaultTags") -> dict[str, str]:
        """Tags that the provider puts on what it makes. What a launch template starts does not get them, so the program
        hands them on."""
        given, stack = self.object(key), pulumi.get_stack()
        tags: Any = given.get("tags") if isinstance(given, dict) else None
        tags = tags if isinstance(tags, dict) else {}
        for missing in (tag for tag in TAGS if not tags.get(tag)):
            command = set_command(f"{key}.tags.{missing}").replace("VALUE", stack if missing == "stack" else "VALUE")
            self.problems.append(f"{key} has no tag {missing}; set it: {command}")
        if tags.get("stack", stack) != stack:
            self.problems.append(
                f"{key} says stack {tags['stack']}; this is stack {stack}, and permissions are tied to the tag: "
                + set_command(f"{key}.tags.stack").replace("VALUE", stack)
            )
        return {name: str(value) for name, value in tags.items()}

    def no_placeholder(self, key: str, value: str) -> str:
        """The value, noted where it is still what the repository's stack file says in place of an owner's."""
        if pulumi.get_stack() != "local" and any(placeholder in value for placeholder in PLACEHOLDERS):
            self.problems.append(f"{key} is {value}, the placeholder of the stack file; set yours: {set_command(key)}")
        return value

    def _matching(self, key: str, pattern: str, needed: str) -> str:
        value = self.text(key)
        if value and not re.fullmatch(pattern, value):
            self.problems.append(f"{key} is {value!r}; {needed}: {set_command(key)}")
            return ""
        return value

    def _value(self, key: str) -> str | None:
        self.asked.add(key)
        return pulumi.Config(key.partition(":")[0]).get(key.partition(":")[2])

    def _foreign(self, key: str) -> bool:
        """A key that neither the program nor the provider reads."""
        return key not in self.asked and key not in provider_keys() and not key.startswith(FOREIGN)

    def _misspelt(self, key: str) -> str:
        take_out = f"take it out: `pulumi config rm --stack {pulumi.get_stack()} {shlex.quote(key)}`"
        if re.search(r"[\[.]", key):
            return f"{key} is no setting: a place in a list is set with --path, {set_command(key)}; {take_out}"
        near = difflib.get_close_matches(key, sorted({*self.asked, *provider_keys()}), n=1, cutoff=0)
        return f"{key} is no setting; did you mean {near[0]}? Set that one, and {take_out}"


def provider_keys() -> set[str]:
    """Settings of the AWS provider, as its package lists them."""
    names = list(inspect.signature(aws.ProviderArgs.__init__).parameters)[1:]
    return {"aws:" + re.sub("_(.)", lambda found: found[1].upper(), name) for name in names}


def network(key: str, value: str) -> ipaddress.IPv4Network:
    """An address range.

    Raises:
        SettingError: it is none.
    """
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as error:
        raise SettingError(f"{key} is {value!r}: {error}; write a range such as 10.20.0.0/16") from None


def machine(value: str, key: str) -> Instance:
    """A row of tenet/hardware.py that EC2 rents.

    Raises:
        SettingError: there is no such row.
    """
    try:
        found = instance(value, key)
    except ConfigError as error:
        raise SettingError(str(error)) from None
    if found.name == "local":
        raise SettingError(f"{key} is local; an EC2 instance type is needed, e.g. g6e.xlarge")
    return found
