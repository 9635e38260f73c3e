"""Fills the templates and expressions of a task from a row, in a sandbox of Jinja's: a task file is data, not code."""

from __future__ import annotations

import functools
import re
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.tasks import Task


@functools.cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["wikihow"] = clean_wikihow
    return environment


def clean_wikihow(text: str) -> str:
    """HellaSwag's text without the marks that its WikiHow half still carries, as lm-eval cleans it."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


@functools.cache
def _template(source: str) -> Any:
    return _environment().from_string(source)


@functools.cache
def _expression(source: str) -> Any:
    return _environment().compile_expression(source, undefined_to_none=False)


def render(task: Task, field: str, row: dict[str, Any]) -> str:
    """A template of the task, filled from a row."""
    return str(_filled(task, field, row, lambda source: _template(source).render(_names(row))))


def value(task: Task, field: str, row: dict[str, Any]) -> Any:
    """An expression of the task over a row; None where the task does not have it."""
    return (
        _filled(task, field, row, lambda source: _defined(_expression(source)(**_names(row)))) if getattr(task, field) else None
    )


def _names(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row, and `row` itself, for names that are no words (`row['Best Answer']`)."""
    return {"row": row, **row}


def _defined(result: Any) -> Any:
    """Jinja hands unknown names on as objects that complain when they are used; complain here, where row and field are
    known."""
    from jinja2 import Undefined

    if isinstance(result, Undefined):
        str(result)
    for part in result.values() if isinstance(result, dict) else result if isinstance(result, list) else ():
        _defined(part)
    return result


def _filled(task: Task, field: str, row: dict[str, Any], fill: Any) -> Any:
    from jinja2 import TemplateError

    try:
        return fill(getattr(task, field))
    except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
        where = f"task {task.name}: {field} ({getattr(task, field)!r})"
        raise ConfigError(f"{where} fails on a row with {', '.join(row)}: {error}; mend the task's YAML") from None
