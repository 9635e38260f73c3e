"""All rules, found by their files, so that none can be written and forgotten."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from policy.declared import Resource

Rule = Callable[[list[Resource]], list[str]]


def load() -> dict[str, Rule]:
    """Name -> rule: the public functions of every `*_rules.py` that take `resources` alone.

    Raises:
        ValueError: two rules have one name, or one has no docstring to show.
    """
    found: dict[str, Rule] = {}
    for path in sorted(Path(__file__).parent.glob("*_rules.py")):
        module = importlib.import_module(f"policy.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            own = function.__module__ == module.__name__ and not name.startswith("_")
            if not own or list(inspect.signature(function).parameters) != ["resources"]:
                continue
            if name in found:
                raise ValueError(f"{path.name}: {name} is the name of another rule too; choose another")
            if not function.__doc__:
                raise ValueError(f"{path.name}: {name} has no docstring; its first paragraph is what `pulumi preview` shows")
            found[name] = function
    return found


#: Every rule by name.
RULES = load()


def problems(resources: list[Resource]) -> list[str]:
    """What all rules say, each message with the rule's name in front."""
    return [f"{name}: {problem}" for name, rule in RULES.items() for problem in rule(resources)]
