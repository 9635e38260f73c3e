"""From a data card back to the corpus: the recipe that the card holds, and whether the files came out the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.files import read_json, sha256
from tenet.settings.build import build, plain
from tenet.settings.corpus import CorpusConfig

#: What a corpus is, in files; reports and checkpoints are not.
PARTS = ("tokens", "tokenizer", "documents", "heldout", "instructions", "preferences", "requests")
#: Settings that say where and how fast, not what.
WHERE = ("workers", "executor")


@dataclass(frozen=True)
class Recipe:
    """All that the corpus stage was told.

    Args:
        domain: name of the subject, or "".
        context: longest context of the model, which the tokenizer's configuration names.
        hashes: file below the stage's folder -> SHA-256.
    """

    config: CorpusConfig
    seed: int
    domain: str
    context: int
    hashes: dict[str, str]


def recipe(config: CorpusConfig, seed: int, domain: str, context: int, folder: Path) -> dict[str, Any]:
    """What the card holds of it."""
    return {
        "settings": {key: value for key, value in plain(config).items() if key not in WHERE},
        "seed": seed,
        "domain": domain,
        "max_position_embeddings": context,
        "sha256": hashes(folder),
    }


def hashes(folder: Path) -> dict[str, str]:
    """Every file of the corpus below a stage's folder, in order."""
    files = sorted(path for part in PARTS for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def read_recipe(card: Path, domain: str = "", sources: Sequence[str] = ()) -> Recipe:
    """The recipe of a card.

    Args:
        card: card.json, or the folder of a run.
        domain: folder of the subject, where it is none that is built in.
        sources: new places of the sources of kind folder, in their order.

    Raises:
        ConfigError: it is no card, or does not fit what was given.
    """
    for path in (card, card / "card.json", card / "corpus" / "card.json"):
        if path.is_file():
            content = read_json(path)
            break
    else:
        raise ConfigError(f"{card}: no card there; name a card.json, or a run folder that has a corpus")
    told = content.get("recipe") if isinstance(content, dict) else None
    if not told:
        raise ConfigError(
            f"{path}: no recipe in it; cards of earlier versions have none, so make the corpus from its config.yaml"
        )
    config = build(CorpusConfig, told["settings"], f"{path}: recipe.settings")
    return Recipe(
        _moved(config, sources), told["seed"], domain or told["domain"], told["max_position_embeddings"], told["sha256"]
    )


def _moved(config: CorpusConfig, places: Sequence[str]) -> CorpusConfig:
    if not places:
        return config
    folders = [source for source in config.sources if source.kind == "folder"]
    if len(folders) != len(places):
        names = ", ".join(source.name for source in folders) or "none"
        raise ConfigError(f"--sources names {len(places)} places; the card has {len(folders)} sources of kind folder ({names})")
    left = iter(places)
    moved = tuple(dataclasses.replace(s, name=next(left)) if s.kind == "folder" else s for s in config.sources)
    return dataclasses.replace(config, sources=moved)


def differences(wanted: Recipe, folder: Path) -> list[str]:
    """Files that are missing, new, or have other bytes."""
    found = hashes(folder)
    lines = [f"{name} is missing" for name in wanted.hashes if name not in found]
    lines += [f"{name} is new" for name in found if name not in wanted.hashes]
    return lines + [f"{name} has other bytes" for name, digest in found.items() if wanted.hashes.get(name, digest) != digest]
