"""Where answers come from: a model folder, an endpoint of the Bedrock Runtime API, or a file that already holds them.

One word on the command line names any of them:

    runs/demo/rlhf/model                        a model folder: answers are drawn on this machine
    http://127.0.0.1:8080                       an endpoint; its model is tenet.assistant-v1:0
    http://127.0.0.1:8080#other.model-v1:0      another model there
    answers.jsonl                               rows with a prompt and its answer, or whole conversations
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lightning_modules.generation.protocol import Sampling
from tenet.assistant.assistant import Assistant
from tenet.assistant.local import LocalAssistant
from tenet.errors import ConfigError
from tenet.feedback.answering import Answer, Source, ask_each
from tenet.files import sha256
from tenet.model_folders import check_model_folder, refused_as
from tenet.rows import Row
from tenet.rows.messages import Unusable, asked, messages_of
from tenet.rows.records import records

MODEL_ID = "tenet.assistant-v1:0"
_ASKED = ("prompt", "question", "instruction", "query")
_SAID = ("answer", "response", "output", "completion", "text")


def open_source(word: str, flag: str) -> Source:
    """The source that a word on the command line names.

    Raises:
        ConfigError: it names none, or one that cannot be used; says which flag and the way out.
    """
    if word.startswith(("http://", "https://")):
        return EndpointSource(endpoint(word))
    path = Path(word)
    if path.is_dir():
        check_model_folder(path, flag)
        return FolderSource(path, flag)
    if path.is_file():
        return FileSource(path, _read_answers(path, flag))
    raise ConfigError(f"{flag} {word}: no such folder or file; give a model folder, the URL of an endpoint or a file of answers")


def endpoint(word: str) -> Assistant:
    """The model at URL, or URL#MODEL-ID; keys come from the environment, as boto3 finds them."""
    from tenet.serving.clients.bedrock import BedrockAssistant

    url, _, model_id = word.partition("#")
    return BedrockAssistant(url, model_id or MODEL_ID)


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of weights, tokenizer and chat template of a model folder, by name."""
    paths = [*sorted(folder.glob("*.safetensors")), folder / "tokenizer.json", folder / "chat_template.jinja"]
    return {path.name: sha256(path) for path in paths if path.is_file()}


@dataclass(frozen=True)
class EndpointSource:
    """Answers by a model behind an endpoint."""

    assistant: Assistant

    def draw(self, rows: Sequence[Row], sampling: Sampling) -> list[Answer]:
        """See `Source.draw`. A prompt that is refused is refused alone."""
        return ask_each(self.assistant, [row["prompt"] for row in rows], [row.get("tools") for row in rows], sampling)

    def identity(self) -> dict[str, str]:
        """See `Source.identity`."""
        return self.assistant.identity()


class FolderSource:
    """Answers by a model on this machine; its weights are read when the first answer is drawn."""

    def __init__(self, folder: Path, flag: str) -> None:
        self.folder, self.flag = folder, flag

    @cached_property
    def assistant(self) -> Assistant:
        """The loaded model."""
        with refused_as(self.flag):
            return LocalAssistant.from_folder(self.folder)

    def draw(self, rows: Sequence[Row], sampling: Sampling) -> list[Answer]:
        """See `Source.draw`. A prompt that the template refuses is refused alone."""
        return ask_each(self.assistant, [row["prompt"] for row in rows], [row.get("tools") for row in rows], sampling)

    def identity(self) -> dict[str, str]:
        """See `Source.identity`."""
        return file_hashes(self.folder)


@dataclass(frozen=True)
class FileSource:
    """Answers that somebody made before, found by their prompt."""

    path: Path
    answers: dict[str, Answer] = field(repr=False)

    def draw(self, rows: Sequence[Row], sampling: Sampling) -> list[Answer]:
        """See `Source.draw`; a prompt that the file does not hold is missing, not empty."""
        missing = Answer("", finish="missing", why=f"{self.path} has no answer to this prompt")
        return [self.answers.get(_key(row["prompt"]), missing) for row in rows]

    def identity(self) -> dict[str, str]:
        """See `Source.identity`."""
        return {"file": str(self.path), "sha256": sha256(self.path)}


def _key(prompt: Sequence[Row]) -> str:
    """Prompts are the same where roles and words are."""
    return json.dumps([[turn["role"], (turn.get("content") or "").strip()] for turn in prompt], ensure_ascii=False)


def _read_answers(path: Path, flag: str) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    for record in records(path):
        try:
            if record.value is None:
                raise Unusable(record.problem)
            key, answer = _read_answer(record.value)
        except Unusable as error:
            raise ConfigError(f"{flag} {path}:{record.line}: {error}; a row is a prompt with its answer, or `messages`") from None
        if answers.setdefault(key, answer) != answer:
            raise ConfigError(f"{flag} {path}:{record.line}: a second, other answer to the same prompt; keep one a prompt")
    if not answers:
        raise ConfigError(f"{flag} {path}: is empty; give rows with a prompt and its answer")
    return answers


def _read_answer(row: Row) -> tuple[str, Answer]:
    """Prompt and answer of a row; the answer may be empty, which a conversation that is learnt from may not."""
    counted: Counter[str] = Counter()
    if isinstance(row.get("messages"), list) and len(row["messages"]) > 1:
        *before, last = row["messages"]
        if not isinstance(last, dict) or last.get("role") != "assistant":
            raise Unusable("`messages` does not end with an answer of the assistant")
        prompt, said, calls = messages_of(before, counted), last.get("content"), last.get("tool_calls")
    else:
        column = next((name for name in _ASKED if row.get(name)), None)
        said = next((row[name] for name in _SAID if isinstance(row.get(name), str)), None)
        if column is None or said is None:
            raise Unusable(f"it has the columns {', '.join(map(repr, row)) or 'of nothing'}")
        prompt, calls = asked(row[column], counted, column), row.get("tool_calls")
    flat = tuple({"name": f["name"], "arguments": f["arguments"]} for f in (call.get("function", call) for call in calls or ()))
    return _key([dict(turn) for turn in prompt]), Answer(said or "", flat, "length" if row.get("finish") == "length" else "stop")
