"""Chat templates as transformers renders them: the same sandbox, switches, tags, filters and functions, so that a model
sees what it was trained on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: A noncharacter of Unicode: never part of real text, removed from input before it is used as the cutting mark; see
#: `chat.py`.
CUT = "\ufdd0"


class ConversationError(ValueError):
    """A conversation that cannot be rendered or learnt from; says why."""


class TemplateRefused(ConversationError):
    """The template itself failed, or called `raise_exception`."""


def compile_template(text: str) -> Any:
    """A Jinja template.

    Raises:
        TemplateRefused: it is none; names the line.
    """
    from jinja2 import TemplateSyntaxError

    try:
        return _environment().from_string(text)
    except TemplateSyntaxError as error:
        raise TemplateRefused(f"the chat template is no valid Jinja (line {error.lineno}: {error.message})") from None


def render(template: Any, values: Mapping[str, Any]) -> str:
    """The text that a compiled template makes.

    Raises:
        TemplateRefused: whatever went wrong in it, in its own words.
    """
    from jinja2 import TemplateError

    try:
        text: str = template.render(**values)
        return text
    except TemplateError as error:
        raise TemplateRefused(f"the chat template refuses the conversation: {error}") from None
    except Exception as error:  # a template is a program; what it raises is about the conversation that it was given
        raise TemplateRefused(f"the chat template fails on the conversation: {type(error).__name__}: {error}") from None


def check_said(message: Mapping[str, Any], said: str, number: int) -> None:
    """See that a template wrote all of an assistant's turn: thoughts (`reasoning_content`), words, calls. Blanks aside,
    which templates trim.

    Args:
        message: the turn. said: what the template made of it, cutting marks and all. number: of the message, from 1.

    Raises:
        ConversationError: names the part that would not be learnt.
    """
    parts = [(name, [message.get(name) or ""]) for name in ("reasoning_content", "content")]
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        arguments = function.get("arguments")
        parts.append(("tool call", [function["name"], *(arguments if isinstance(arguments, Mapping) else ())]))
    written = _blankless(said)
    lost = [name for name, words in parts if not all(_stands_in(written, str(word)) for word in words)]
    if lost:
        raise ConversationError(
            f"the chat template leaves the {lost[0]} of message {number} out of the assistant's turn, so it would not be learnt; take it "
            "out of the row, write it into the content, or give the model a template that writes it"
        )


def _stands_in(written: str, word: str) -> bool:
    """As it is, or as JSON has it."""
    return any(_blankless(form) in written for form in (word, json.dumps(word, ensure_ascii=False)[1:-1]))


def _blankless(text: str) -> str:
    return "".join(text.replace(CUT, "").split())


@lru_cache
def _environment() -> Any:
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's words for transformers' mask; ours comes from rendering prefixes, so
        it is only a scope."""

        tags = {"generation"}  # noqa: RUF012 (Jinja reads it from the class)

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own escapes HTML. The cutting mark stays one character, or it would be read by the model."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return text.replace("\\ufdd0", CUT) if ensure_ascii else text


def _strftime_now(form: str) -> str:
    """Today, or the day that SOURCE_DATE_EPOCH names (reproducible-builds.org): training over midnight would see two
    dates otherwise."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now()
    return now.strftime(form)
