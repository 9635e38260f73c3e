"""A training stage without a run: a model's folder, a workspace that starts from it, files of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning_modules.config import ParallelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_model
from tenet.runs.workspace import Workspace
from tests.lightning_modules.tiny import tiny_tokenizer


def model_folder(folder: Path, decoder: Decoder) -> Path:
    """A decoder with the tiny tokenizer."""
    text = tiny_tokenizer()
    text.tokenizer.save(str(folder / "tokenizer.json"))
    save_model(decoder, folder, folder, text.stop_ids, text.end_of_text)
    return folder


def workspace(tmp_path: Path, model: Path, stage: str) -> Workspace:
    """Of a stage that has no other stage's folder."""
    return Workspace(tmp_path / stage, tmp_path, stage, (), 0, lambda *_: None, start=model, parallel=ParallelConfig())


def rows_of(path: Path, rows: list[dict[str, Any]]) -> str:
    """A JSONL file, by the name that a setting takes."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
