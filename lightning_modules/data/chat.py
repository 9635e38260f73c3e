"""From conversations to token ids and back: one Jinja template, one loss mask, one defence against template injection.

The format is ChatML with tool calls in the Hermes form, so that vLLM's `hermes` parser reads them. Text that somebody else wrote may contain
`<|im_end|>`; it must never become that token, or a user could close his own turn. Before rendering, an unusual character is put
inside each such string; the rendered text is cut at that character and the pieces are encoded apart, so the special token is never seen whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tools>", "</tools>")
#: A noncharacter of Unicode: never part of real text, removed from input before it is used as the cutting mark.
_CUT = "\ufdd0"

# fmt: off
CHAT_TEMPLATE = (
    "{%- if tools -%}"
    "{{- '<|im_start|>system\\n' -}}"
    "{%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n' -}}{%- endif -%}"
    "{{- '<tools>\\n' -}}"
    "{%- for tool in tools -%}{{- (tool.function if tool.function is defined else tool) | tojson + '\\n' -}}{%- endfor -%}"
    "{{- '</tools><|im_end|>\\n' -}}"
    "{%- elif messages[0].role == 'system' -%}"
    "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- if message.role == 'tool' -%}"
    "{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' -}}"
    "{%- elif message.role == 'assistant' -%}"
    "{{- '<|im_start|>assistant\\n' + (message.content or '') -}}"
    "{%- for call in message.tool_calls or [] -%}"
    "{%- set call = call.function if call.function is defined else call -%}"
    "{{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n{\"name\": ' + call.name | tojson + ', \"arguments\": ' -}}"
    "{{- (call.arguments if call.arguments is string else call.arguments | tojson) + '}\\n</tool_call>' -}}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- elif message.role != 'system' or not loop.first -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
# fmt: on

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


def parse_tool_calls(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Split an answer into its text and its tool calls.

    A call that is not valid JSON with a name and an object of arguments stays in the text, so that nothing the model said is lost.

    Returns:
        the text without the calls, and the calls as `{"name": ..., "arguments": {...}}`.
    """
    calls: list[dict[str, Any]] = []

    def take(match: re.Match[str]) -> str:
        try:
            call = json.loads(match.group(1))
        except json.JSONDecodeError:
            return match.group(0)
        if not (isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments"), dict)):
            return match.group(0)
        calls.append({"name": call["name"], "arguments": call["arguments"]})
        return ""

    return _CALL.sub(take, text).strip(), calls


class ChatTokenizer:
    """A `tokenizers` tokenizer with the chat template around it.

    Args:
        tokenizer: byte-level BPE with the special tokens of ChatML.
        template: Jinja text; the one in this file by default.
    """

    def __init__(self, tokenizer: Any, template: str = CHAT_TEMPLATE) -> None:
        self.tokenizer, self.template = tokenizer, template
        missing = [name for name in (END_OF_TEXT, TURN_START, TURN_END) if tokenizer.token_to_id(name) is None]
        if missing:
            raise ValueError(f"tokenizer lacks the special tokens {', '.join(missing)}; train one with `tenet corpus`")
        self.end_of_text: int = tokenizer.token_to_id(END_OF_TEXT)
        self.turn_end: int = tokenizer.token_to_id(TURN_END)
        self.stop_ids: tuple[int, ...] = (self.turn_end, self.end_of_text)
        added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        self._reserved = re.compile("|".join(re.escape(token) for token in sorted(added | set(TOOL_TAGS), key=len, reverse=True)))

    @classmethod
    def from_folder(cls, folder: str | Path) -> ChatTokenizer:
        """Load `tokenizer.json` and, where there is one, `chat_template.jinja` of a Hugging Face folder."""
        from tokenizers import Tokenizer

        folder = Path(folder)
        if not (folder / "tokenizer.json").is_file():
            raise FileNotFoundError(f"{folder / 'tokenizer.json'}: no such file; is this a model or tokenizer folder?")
        template = folder / "chat_template.jinja"
        return cls(
            Tokenizer.from_file(str(folder / "tokenizer.json")),
            template.read_text(encoding="utf-8") if template.is_file() else CHAT_TEMPLATE,
        )

    @property
    def vocab_size(self) -> int:
        """Entries, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def _compiled(self) -> Any:
        # The same sandbox and switches as transformers, so that both render the same text.
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        return environment.from_string(self.template)

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, generation: bool = False) -> str:
        """The conversation as text, for reading; `prompt` and `conversation` encode it safely."""
        return self._render(messages, tools, generation).replace(_CUT, "")

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool] | None, generation: bool) -> str:
        if not messages:
            raise ValueError("messages is empty; a conversation needs at least one turn")
        text: str = self._compiled.render(
            messages=self._guard(list(messages)),
            tools=self._guard(list(tools)) if tools else None,
            add_generation_prompt=generation,
        )
        return text

    def _guard(self, value: Any) -> Any:
        """Put the cutting mark inside every reserved string of a nested value."""
        if isinstance(value, str):
            return self._reserved.sub(lambda m: m.group(0)[0] + _CUT + m.group(0)[1:], value.replace(_CUT, ""))
        if isinstance(value, dict):
            return {self._guard(key): self._guard(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._guard(item) for item in value]
        return value

    def _ids(self, marked: str) -> list[int]:
        return [i for piece in marked.split(_CUT) if piece for i in self.tokenizer.encode(piece, add_special_tokens=False).ids]

    def encode(self, text: str) -> list[int]:
        """Plain text to ids; what looks like a special token stays text."""
        return self._ids(self._guard(text))

    def decode(self, ids: Sequence[int], keep_special: bool = False) -> str:
        """Ids to text. Tool tags are kept; turn marks are dropped unless asked for."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=not keep_special)
        return text

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, prefill: str = "") -> list[int]:
        """Ids of a conversation up to where the assistant begins to speak, plus the words put into its mouth."""
        return self._ids(self._render(messages, tools, generation=True)) + (self._ids(prefill) if prefill else [])

    def conversation(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> tuple[list[int], list[bool]]:
        """Ids of a whole conversation and which of them the assistant said (its turn end included).

        The mask comes from rendering prefixes: what the template adds between "assistant begins" and "assistant has spoken" is
        the assistant's. Works for any template that only appends.

        Raises:
            ValueError: no assistant turn, or a template that rewrites earlier turns. Training on an empty mask would silently learn nothing.
        """
        ids: list[int] = []
        mask: list[bool] = []
        done = ""
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = self._render(messages[:i], tools, True), self._render(messages[: i + 1], tools, False)
            end = after.rfind(TURN_END) + len(TURN_END)
            if not (before.startswith(done) and after.startswith(before) and end > len(before)):
                raise ValueError("the chat template rewrites earlier turns; assistant tokens cannot be told apart from it")
            asked, said = self._ids(before[len(done) :]), self._ids(after[len(before) : end])
            ids += asked + said
            mask += [False] * len(asked) + [True] * len(said)
            done = after[:end]
        if not any(mask):
            raise ValueError("the conversation has no assistant turn; there is nothing to learn from it")
        return ids, mask
