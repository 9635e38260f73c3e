"""The needle grid and the effective length; long-context tasks as files that `tenet evaluate` takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_modules.generation.protocol import Sampling
from tenet.errors import ConfigError
from tenet.evaluate.items import load_items
from tenet.evaluate.long_context.grid import cells, effective_length, needle_grid
from tenet.evaluate.long_context.ruler import WHOLE
from tenet.evaluate.long_context.suite import WITHOUT_QUESTIONS, write_grid, write_suite
from tenet.evaluate.runner import run_task
from tenet.evaluate.tasks import load_task
from tests.tenet.evaluate.long_context.test_ruler import BOOK, scored, solved
from tests.tenet.evaluate.tiny import Scripted

DEPTHS = (0, 2500, 4000, 6000, WHOLE)


def test_a_needle_at_every_depth_of_every_length() -> None:
    rows = needle_grid((4000, 8000), DEPTHS, 2, 0, len, BOOK)
    assert len(rows) == 20 and {len(row["prompt"]) for row in rows} == {4000, 8000}
    for row in rows:
        assert row["depths"][0] == pytest.approx(row["depth"], abs=0.07)
    half = [scored(row, solved(row["prompt"][len(row["prompt"]) // 2 :], row["prompt"].rpartition("\n\n")[2])) for row in rows]
    assert cells(rows, half) == {(length, depth / WHOLE): float(depth > 5000) for length in (4000, 8000) for depth in DEPTHS}


def test_effective_length() -> None:
    assert effective_length({4096: 0.99, 8192: 0.9, 16_384: 0.7}) == 8192
    assert effective_length({4096: 0.5}) is None and effective_length({4096: 0.5}, threshold=0.5) == 4096
    with pytest.raises(ConfigError, match="no score"):
        effective_length({})


def oracle(messages: list[dict[str, str]], tools: object) -> str:
    prompt = messages[-1]["content"]
    return solved(prompt, prompt.rpartition("\n\n")[2])


def test_tasks_as_files_are_asked_like_any_others(tmp_path: Path) -> None:
    paths = write_suite(tmp_path, (4000,), 2, 0, len, BOOK)
    assert [path.stem for path in paths] == [f"{task}_4000" for task in WITHOUT_QUESTIONS]
    for path in (*paths, write_grid(tmp_path, (4000,), (0, WHOLE), 1, 0, len, BOOK)):
        loaded = load_items(load_task(str(path)))
        rows = run_task(Scripted(say=oracle), loaded, "base", Sampling(max_tokens=8))
        assert [row["score"] for row in rows] == [1.0, 1.0]
        assert {row["score"] for row in run_task(Scripted(), loaded, "base", Sampling(max_tokens=8))} == {0.0}
    assert {row["cluster"] for row in rows} == {"4000@0.0", "4000@1.0"}
