"""`tenet score`: what a reward model thinks of a file of pairs, row by row, with how often it is right and what length
alone would get."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError

EXAMPLES = """examples
  tenet score --model runs/demo/reward/reward --data pairs.jsonl --out scores.jsonl
"""


def score_command(words: list[str]) -> int:
    """Entry of the command line."""
    chosen = _parser().parse_args(words)
    if chosen.out.exists():
        raise ConfigError(f"--out {chosen.out}: is there already; name another file")
    if not (chosen.model / "config.json").is_file():
        raise ConfigError(f"--model {chosen.model}: no config.json there; give the folder `reward/` of a finished reward stage")
    from tenet.files import write_jsonl
    from tenet.posttrain.checkpoints import mean_interval
    from tenet.posttrain.training import length_baseline
    from tenet.rows import read_table

    table = read_table(str(chosen.data), "preferences", most_refused=chosen.most_refused)
    rows = scored(chosen.model, table.rows, chosen.pool)
    write_jsonl(chosen.out, rows)
    right, low, high = mean_interval([row["right"] for row in rows])
    length = length_baseline([row["chosen_longer"] for row in rows])
    refused = f"; {len(table.refused)} records refused" if table.refused else ""
    print(
        f"{len(rows)} pairs ({table.format}{refused}): the chosen answer scores higher in {right:.1%} [{low:.1%}, {high:.1%}]; "
        f"length alone gets {length:.1%}. Rows: {chosen.out}"
    )
    return 0


def scored(folder: Path, rows: list[dict[str, Any]], pool: str) -> list[dict[str, Any]]:
    """Scores of both answers of each pair.

    Raises:
        ConfigError: the folder is no reward model, or a pair is longer than it can read.
    """
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.modules.reward import HEAD_FILE, load_reward
    from tenet.posttrain.training import longer, pair_tree
    from tenet.stages.training.reward import score_pairs

    if not (folder / HEAD_FILE).is_file():
        raise ConfigError(f"--model {folder}: has no {HEAD_FILE}, so it is no reward model; train one with `tenet reward`")
    model, tokenizer = load_reward(folder, "mean" if pool == "mean" else "last"), ChatTokenizer.from_folder(folder)
    trees = [pair_tree(tokenizer, row) for row in rows]
    most = model.decoder.config.max_position_embeddings
    if too_long := [row["id"] for row, tree in zip(rows, trees, strict=True) if len(tree) > most]:
        raise ConfigError(f"{len(too_long)} pairs are longer than the model reads ({most} tokens), the first is {too_long[0]!r}")
    scores = score_pairs(model, trees)
    return [
        {
            "id": row["id"],
            "chosen_score": round(chosen, 5),
            "rejected_score": round(rejected, 5),
            "margin": round(chosen - rejected, 5),
            "right": 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0,
            "chosen_longer": longer(row),
        }
        for row, (chosen, rejected) in zip(rows, scores, strict=True)
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tenet score", description="Score a file of preference pairs with a reward model.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--model", type=Path, required=True, help="folder `reward/` of a finished reward stage")
    parser.add_argument(
        "--data", required=True, help="pairs: .jsonl .json .csv .parquet (also .gz, .zst), or owner/name on the hub"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSONL to write: id, both scores, margin, right, chosen_longer")
    parser.add_argument("--pool", choices=("last", "mean"), default="last", help="as `reward.pool` was when it was trained")
    parser.add_argument(
        "--most-refused", type=float, default=0.05, help="share of the records that may be refused (default 0.05)"
    )
    return parser
