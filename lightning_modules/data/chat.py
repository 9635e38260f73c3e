"""From conversations to token ids and back: one Jinja template, one loss mask, one defence against template injection.

A folder's own template and special tokens are used where it has them. Ours is ChatML with tool calls in the Hermes
form, so that vLLM's `hermes` parser reads them. Text that somebody else wrote may contain `<|im_end|>`; it must never
become that token, or a user could close his own turn. Before rendering, an unusual character is put inside each such
string; the rendered text is cut at that character and the pieces are encoded apart, so the special token is never seen
whole.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from lightning_modules.data.hermes import woven
from lightning_modules.data.pieces import Pieces
from lightning_modules.data.templates import CUT as _CUT
from lightning_modules.data.templates import ConversationError, TemplateRefused, check_said, compile_template, render
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.tokenizer_files import chat_templates, special_tokens, stop_tokens

log = logging.getLogger(__name__)
Message = dict[str, Any]
Tool = dict[str, Any]

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tools>", "</tools>")
#: What separates documents, in the order of preference; a tokenizer with none of them ends documents as it ends
#: answers.
DOCUMENT_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>")
Example = tuple[list[int], list[bool]]

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

    A call that is not valid JSON with a name and an object of arguments stays in the text, so that nothing the model
    said is lost.

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
        tokenizer: any of the library's; one without the special tokens of ChatML needs a template and an end of its
            own.
        template: Jinja text; the one in this file by default.
        tool_template: used where tools are given; the same template by default.
        tokens: `bos_token`, `eos_token` and the like, as the template may write them.
        stops: ids that end an answer beside the end of the assistant's turn.

    Raises:
        ModelFolderError: special tokens are missing, or nothing ends an answer.
    """

    def __init__(
        self,
        tokenizer: Any,
        template: str = CHAT_TEMPLATE,
        tool_template: str = "",
        tokens: Mapping[str, str] | None = None,
        stops: Sequence[int] = (),
    ) -> None:
        self.tokenizer, self.template, self._tool_template, self._tokens = tokenizer, template, tool_template, dict(tokens or {})
        missing = [name for name in (END_OF_TEXT, TURN_START, TURN_END) if tokenizer.token_to_id(name) is None]
        if template == CHAT_TEMPLATE and missing:
            raise ModelFolderError(
                f"tokenizer lacks {', '.join(missing)} and has no chat template of its own; train one with `tenet corpus`, or put a "
                "chat_template.jinja beside it"
            )
        added = tokenizer.get_added_tokens_decoder().values()
        self._reserved = _any_of({token.content for token in added} | set(TOOL_TAGS))
        # A thought's tags are part of what a model says, and templates look for them there; in anybody else's words
        # they stay text.
        said = {token.content for token in added if not token.special} - set(TOOL_TAGS)
        self._reserved_in_answers = _any_of(({token.content for token in added} - said) | set(TOOL_TAGS))
        end = tokenizer.token_to_id(self._turn_end_text or self._tokens.get("eos_token", ""))
        if end is None:
            raise ModelFolderError(
                "nothing ends an answer: the chat template closes the assistant's turn with no special token, and tokenizer_config.json "
                "names no eos_token of the vocabulary; set one of them"
            )
        self.turn_end: int = end
        self.end_of_text: int = next((i for i in map(tokenizer.token_to_id, DOCUMENT_ENDS) if i is not None), end)
        eos = tokenizer.token_to_id(self._tokens.get("eos_token", ""))
        also = [*stops, *([] if eos is None else [eos])]
        begin = tokenizer.token_to_id(self._tokens.get("bos_token", ""))
        #: What stands before a text that nothing stands before.
        self.text_start: int = self.end_of_text if begin is None else begin
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys([self.turn_end, self.end_of_text, *also]))

    @classmethod
    def from_folder(cls, folder: str | Path) -> ChatTokenizer:
        """Load `tokenizer.json` of a Hugging Face folder, with its chat templates, special tokens and ids that end an
        answer.

        Raises:
            ModelFolderError: there is none, or it cannot be used.
        """
        from tokenizers import Tokenizer

        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelFolderError(
                f"{path}: no such file; is this a model or tokenizer folder? A slow tokenizer (tokenizer.model, vocab.json) becomes one by "
                "transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        templates = chat_templates(folder)
        if templates and "default" not in templates:
            raise ModelFolderError(f"{folder}: chat templates {', '.join(templates)} and none named default; name one so")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise ModelFolderError(f"{path}: not a readable tokenizer ({error}); copy it again") from None
        # Kept in the file from somebody's training; transformers switches both off too.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if not templates:
            log.warning("%s: no chat template; the project's own (ChatML) is used", folder)
        try:
            return cls(
                tokenizer,
                templates.get("default", CHAT_TEMPLATE),
                templates.get("tool_use", ""),
                special_tokens(folder),
                stop_tokens(folder),
            )
        except ValueError as error:
            raise ModelFolderError(f"{folder}: {error}") from None

    @property
    def vocab_size(self) -> int:
        """Entries, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def _compiled(self) -> tuple[Any, Any]:
        """Without tools and with them."""
        plain = compile_template(self.template)
        return plain, compile_template(self._tool_template) if self._tool_template else plain

    @cached_property
    def _turn_end_text(self) -> str:
        """The special token that the template writes after the assistant's words; "" where it writes none."""
        if TURN_END in self.template and self.tokenizer.token_to_id(TURN_END) is not None:
            return TURN_END
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
        _ = self._compiled  # a template that is no Jinja is refused here, one that wants other messages is not
        try:
            found = self._reserved.search(self._render(messages, None, False).rpartition("Hello")[2])
        except TemplateRefused:
            return ""
        return found.group(0) if found else ""

    @cached_property
    def _additive(self) -> bool:
        """Whether text cut at a line's end has the same tokens in two pieces as in one; those that put a blank before a
        text have not."""
        whole, *pieces = (self.tokenizer.encode(text, add_special_tokens=False).ids for text in ("\nx", "\n", "x"))
        return bool(whole == pieces[0] + pieces[1])

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, generation: bool = False) -> str:
        """The conversation as text, for reading; `prompt` and `conversation` encode it safely."""
        return self._render(messages, tools, generation).replace(_CUT, "")

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool] | None, generation: bool) -> str:
        if not messages:
            raise ConversationError("messages is empty; a conversation needs at least one turn before the assistant's")
        turns = [self._guard_message(message) for message in messages]
        offered = self._guard(list(tools)) if tools else None
        if (offered or any(m.get("tool_calls") or m.get("role") == "tool" for m in turns)) and not self.knows_tools:
            turns, offered = woven(turns, offered, self._shows_system), None
        return self._fill(turns, offered, generation)

    def _fill(self, turns: list[Message], tools: list[Tool] | None, generation: bool) -> str:
        values = {"messages": turns, "tools": tools, "documents": None, "add_generation_prompt": generation}
        return render(self._compiled[bool(tools)], {**self._tokens, **values})

    @cached_property
    def knows_tools(self) -> bool:
        """Whether the template shows tools; where it does not, `hermes` writes them into the conversation."""
        function = {"name": "probe", "description": "", "parameters": {"type": "object", "properties": {}}}
        return self._differs([], [{"type": "function", "function": function}])

    @cached_property
    def _shows_system(self) -> bool:
        return self._differs([{"role": "system", "content": "probe"}], None)

    def _differs(self, before: list[Message], tools: list[Tool] | None) -> bool:
        """Whether a turn or tools make a difference to what the template writes; one that refuses them shows none."""
        turns = [{"role": "user", "content": "Hi"}]
        try:
            return self._fill(before + turns, tools, True) != self._fill(turns, None, True)
        except TemplateRefused:
            return False

    def _guard_message(self, message: Message) -> Message:
        reserved = self._reserved_in_answers if message.get("role") == "assistant" else self._reserved
        guarded: Message = self._guard(message, reserved)
        return guarded

    def _guard(self, value: Any, reserved: re.Pattern[str] | None = None) -> Any:
        """Put the cutting mark inside every reserved string of a nested value."""
        reserved = reserved or self._reserved
        if isinstance(value, str):
            return reserved.sub(lambda m: m.group(0)[0] + _CUT + m.group(0)[1:], value.replace(_CUT, ""))
        if isinstance(value, dict):
            return {self._guard(key, reserved): self._guard(item, reserved) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._guard(item, reserved) for item in value]
        return value

    def _ids(self, marked: str) -> list[int]:
        return [i for piece in marked.split(_CUT) if piece for i in self.tokenizer.encode(piece, add_special_tokens=False).ids]

    def encode(self, text: str) -> list[int]:
        """Plain text to ids; what looks like a special token stays text."""
        return self._ids(self._guard(text))

    def raw(self, text: str) -> list[int]:
        """Ids of a whole text as transformers' tokenizer gives them: what reads as a special token is one, and what the
        tokenizer puts before a text stands there. Only for who may write the prompt itself."""
        return list(self.tokenizer.encode(text).ids)

    def piece(self, token: int) -> bytes:
        """What one id adds to a text; part of a character where it is a byte of one."""
        return self._pieces.bytes_of(token)

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.tokenizer)

    def decode(self, ids: Sequence[int], keep_special: bool = False) -> str:
        """Ids to text. Tool tags are kept; turn marks are dropped unless asked for."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=not keep_special)
        return text

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None, prefill: str = "") -> list[int]:
        """Ids of a conversation up to where the assistant begins to speak, plus the words put into its mouth."""
        return self._ids(self._render(messages, tools, generation=True)) + (self._ids(prefill) if prefill else [])

    def between(
        self, messages: Sequence[Message], answer: Message, observed: Sequence[Message], tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """Ids between the closing token of an answer and where the assistant speaks next: what the template writes of
        `observed`, and of its own. The answer itself is not rendered into them, so its ids can stay as they were
        sampled, even where a template writes earlier turns differently once later ones are there.

        Raises:
            ConversationError: the template refuses the conversation, or closes turns only as long as nothing follows.
        """
        end = self._turn_end_text
        closed = self._render([*messages, answer], tools, False).count(end) if end else 0
        pieces = self._render([*messages, answer, *observed], tools, True).split(end) if closed else []
        if not 0 < closed < len(pieces):
            raise ConversationError("the chat template does not show where the assistant's turn ends once another one follows")
        return self._ids(end.join(pieces[closed:]))

    def conversation(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> Example:
        """Ids of a whole conversation and which of them the assistant said (its turn end included), for reading:
        `examples` end to end.

        Raises:
            ConversationError: as `examples`.
        """
        parts = self.examples(messages, tools)
        return [i for ids, _ in parts for i in ids], [said for _, mask in parts for said in mask]

    def examples(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> list[Example]:
        """What is trained on: ids, and which of them the assistant said; every turn of the assistant's is learnt once,
        as it is served.

        The mask comes from rendering prefixes: what the template adds between "assistant begins" and "assistant has
        spoken" is the assistant's. One example holds all turns while the template only appends. One that writes earlier
        turns differently once later ones are there (Qwen3's drops their thoughts) begins another example at that turn,
        with the history as it stands when that turn is asked for. A turn with `weight` 0 is read and not learnt; of any
        other all is taught: thoughts (`reasoning_content`) and tool calls too.

        Raises:
            ConversationError: no assistant turn, a turn that its own prompt does not begin, or a template that refuses
                the conversation or leaves out a part of a turn. Training on an empty mask would silently learn nothing.
        """
        out: list[Example] = []
        done = ""
        for i, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            after = self._render(messages[: i + 1], tools, False)
            before = self._render(messages[:i], tools, True) if i else self._opening(messages, tools, after)
            end = after.rfind(self._turn_end_text) + len(self._turn_end_text)
            if not self._turn_end_text:
                raise ConversationError(
                    "the chat template ends the assistant's turn with no special token; nothing would teach it to stop"
                )
            if not (after.startswith(before) and end > len(before)):
                raise ConversationError(
                    f"the chat template rewrites what comes before message {i + 1}, the assistant's; its tokens cannot be told apart from it"
                )
            learn = message.get("weight", 1) != 0
            if learn:
                check_said(message, after[len(before) : end], i + 1)
            if not out or not before.startswith(done):
                out.append(([], []))
                done = ""
            self._append(out[-1], before, after[:end], done, learn)
            done = after[:end]
        if not out:
            raise ConversationError("the conversation has no assistant turn; there is nothing to learn from it")
        return out

    def _opening(self, messages: Sequence[Message], tools: Sequence[Tool] | None, after: str) -> str:
        """What stands before the words of an assistant that speaks first: no prompt can be rendered for it, so it is
        told from what begins any turn."""
        begins = self._render(messages[:1], tools, True).removeprefix(after)
        head, found, _ = after.partition(begins)
        if not begins or not found:
            raise ConversationError("the assistant speaks first, and the chat template does not show where its words begin")
        return head + begins

    def _append(self, example: Example, before: str, after: str, done: str, learn: bool = True) -> None:
        """One more turn: `done` of it is there, `before` is asked, the rest of `after` is said."""
        ids, mask = example
        if self._additive:
            asked, said = self._ids(before[len(done) :]), self._ids(after[len(before) :])
            ids += asked + said
            mask += [False] * len(asked) + [learn] * len(said)
            return
        whole = self._ids(after)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._ids(before), whole, strict=False))
        start = max(len(ids), sum(1 for _ in same))
        mask += [False] * (start - len(ids)) + [learn] * (len(whole) - start)
        ids[:] = whole


def _any_of(tokens: set[str]) -> re.Pattern[str]:
    """The longest first, or a token would hide one that it begins."""
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)))
