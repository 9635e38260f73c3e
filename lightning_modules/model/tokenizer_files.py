"""The files of a tokenizer beside a model: which they are, what they say, and whether two tokenizers are the same.

A model's token ids mean something under the tokenizer that it was trained with and nothing under another, and no size
shows the difference. Plain JSON: neither torch nor `tokenizers` is needed to know it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning_modules.model.errors import ModelFolderError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
                   "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model")  # fmt: skip
#: Named templates of transformers beside the default one, NAME.jinja each.
TEMPLATES = "additional_chat_templates"
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
#: Texts that show another cutting of words, other digits or other blanks where vocabulary and merges are the same.
PROBES = (
    "The 12345 tests, and CamelCase_names didn't fail.\n\n\tif x == 0x1F:  # né ö 你好 🙂",
    "  two  blanks\r\nand\u00a0more",
)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file.

    Raises:
        ModelFolderError: something else is in it.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFolderError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path}: holds no JSON object; copy it again")
    return value


def tokenizer_files(folder: Path) -> list[str]:
    """Relative paths of the tokenizer's files that are there."""
    named = sorted(path.name for path in (folder / TEMPLATES).glob("*.jinja"))
    return [name for name in TOKENIZER_FILES if (folder / name).is_file()] + [f"{TEMPLATES}/{name}" for name in named]


def copy_tokenizer_files(source: Path, folder: Path) -> None:
    """The tokenizer and its chat templates as they are; nothing where both are the same folder."""
    if source.resolve() == folder.resolve():
        return
    for name in tokenizer_files(source):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        replace(folder / name, partial(shutil.copyfile, source / name))


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def special_tokens(folder: Path) -> dict[str, str]:
    """`bos_token`, `eos_token` and the like, as templates get them; what is not set is left out."""
    config, older = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    found: dict[str, str] = {}
    for name in NAMES:
        value = config[name] if name in config else older.get(name)
        value = value.get("content") if isinstance(value, dict) else value
        if isinstance(value, str):
            found[name] = value
    return found


def chat_templates(folder: Path) -> dict[str, str]:
    """Templates by name (`default`, `tool_use`, ...), from all the places where transformers keeps them; the later
    place wins.

    Raises:
        ModelFolderError: a template that is no text.
    """
    found: dict[str, str] = {}
    for file in ("chat_template.json", "tokenizer_config.json"):
        given = read_json(folder / file).get("chat_template")
        if isinstance(given, list) and all(isinstance(item, dict) and {"name", "template"} <= item.keys() for item in given):
            given = {item["name"]: item["template"] for item in given}
        given = {"default": given} if isinstance(given, str) else given
        if given is not None and not (isinstance(given, dict) and all(isinstance(text, str) for text in given.values())):
            raise ModelFolderError(f"{folder / file}: chat_template is neither a text nor a list of named ones")
        found |= given or {}
    if (folder / "chat_template.jinja").is_file():
        found["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for path in sorted((folder / TEMPLATES).glob("*.jinja")):
        found[path.stem] = path.read_text(encoding="utf-8")
    return found


def stop_tokens(folder: Path) -> tuple[int, ...]:
    """Ids that end an answer, as generation_config.json says, or else config.json."""
    for file in ("generation_config.json", "config.json"):
        given = read_json(folder / file).get("eos_token_id")
        if given is not None:
            ids = given if isinstance(given, list) else [given]
            if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
                raise ModelFolderError(f"{folder / file}: eos_token_id is {given!r}; it must be a token id or a list of them")
            return tuple(ids)
    return ()


def fingerprint(folder: Path) -> str:
    """SHA-256 of what gives token ids their meaning: entries, merges and special tokens; "" where there is no
    tokenizer.json.

    The same for a file that was written again by another version or with another template.
    """
    if not (folder / "tokenizer.json").is_file():
        return ""
    parts = _parts(folder)
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def token_id(folder: Path, token: str | None) -> int | None:
    """Id of a token, None where there is no such token."""
    entries = _parts(folder)["entries"] if token is not None and (folder / "tokenizer.json").is_file() else []
    return next((i for i, name in entries if name == token), None)


def same_tokenizer(a: Path, b: Path) -> list[str]:
    """What differs between the tokenizers of two folders, in words; empty where token ids mean the same in both.

    Chat templates are not compared: they change what is written, not what an id means.

    Raises:
        ModelFolderError: one of them has no readable tokenizer.json.
    """
    ours, theirs = _parts(a), _parts(b)
    found: list[str] = []
    left, right = dict(ours["entries"]), dict(theirs["entries"])
    if len(left) != len(right):
        found.append(f"{len(left)} entries and {len(right)}")
    other = sorted(i for i in left.keys() & right.keys() if left[i] != right[i])
    if other:
        found.append(f"{len(other)} ids are other entries, e.g. {other[0]} is {left[other[0]]!r} and {right[other[0]]!r}")
    if ours["merges"] != theirs["merges"]:
        found.append(f"other merges ({len(ours['merges'])} and {len(theirs['merges'])})")
    if ours["special"] != theirs["special"]:
        odd = sorted(set(ours["special"]) ^ set(theirs["special"]))
        found.append(f"{odd[0]!r} is a special token in one of them")
    if not found:
        one, two = _encoder(a), _encoder(b)
        apart = next((text for text in PROBES if one(text) != two(text)), None)
        if apart is not None:
            found.append(f"the same entries, but {apart[:24]!r} is cut into other tokens")
    return found


def _encoder(folder: Path) -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def _parts(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer.json"
    content = read_json(path)
    model, added = content.get("model"), content.get("added_tokens") or []
    if not isinstance(model, dict) or "vocab" not in model:
        raise ModelFolderError(f"{path}: no tokenizer of the `tokenizers` library; is this a model or tokenizer folder?")
    vocabulary, merges = model["vocab"], model.get("merges") or []
    # Unigram's is a list of (token, score); the scores decide how text is cut.
    scores = [entry[1] for entry in vocabulary] if isinstance(vocabulary, list) else []
    entries = {i: entry[0] for i, entry in enumerate(vocabulary)} if scores else {i: token for token, i in vocabulary.items()}
    entries |= {token["id"]: token["content"] for token in added}
    return {
        "entries": sorted(entries.items()),
        # Written as "a b" by older versions and as ["a", "b"] by newer ones.
        "merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges] + scores,
        "special": sorted(token["content"] for token in added if token.get("special")),
    }
