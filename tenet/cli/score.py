"""`tenet score`: what a reward model thinks of a file of pairs, row by row, with how often it is right and what length
alone would get."""

from __future__ import annotations

import argparse
from pathlib import Path

from tenet.errors import ConfigError

#: As lightning_modules/modules/reward.py names it, which would load torch.
HEAD_FILE = "reward_head.safetensors"
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
    if not (chosen.model / HEAD_FILE).is_file():
        raise ConfigError(f"--model {chosen.model}: has no {HEAD_FILE}, so it is no reward model; train one with `tenet reward`")
    from tenet.files import write_jsonl
    from tenet.posttrain.checkpoints import mean_interval
    from tenet.posttrain.reward_models.quality import length_correlation, matched
    from tenet.posttrain.reward_models.scoring import best_of, score_rows
    from tenet.posttrain.training import length_baseline
    from tenet.rows import read_table

    table = read_table(str(chosen.data), "preferences", most_refused=chosen.most_refused)
    rows = score_rows(chosen.model, table.rows)
    write_jsonl(chosen.out, rows)
    right, low, high = mean_interval([row["right"] for row in rows])
    length = length_baseline([row["chosen_longer"] for row in rows])
    refused = f"; {len(table.refused)} records refused" if table.refused else ""
    print(
        f"{len(rows)} pairs ({table.format}{refused}): the chosen answer scores higher in {right:.1%} [{low:.1%}, {high:.1%}]; "
        f"length alone gets {length:.1%}. Rows: {chosen.out}"
    )
    if level := [row["right"] for row in rows if matched(row)]:
        print(f"  of about one length: {mean_interval(level)[0]:.1%} of {len(level)} pairs", end="")
        correlation = length_correlation(rows)
        print(f"; correlation of score with length {correlation:.2f}" if correlation is not None else "")
    if best := best_of(table.rows, rows):
        right, low, high = mean_interval(list(best.values()))
        print(f"  best of several: the good answers score highest for {right:.1%} [{low:.1%}, {high:.1%}] of {len(best)} prompts")
    return 0


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
    parser.add_argument(
        "--most-refused", type=float, default=0.05, help="share of the records that may be refused (default 0.05)"
    )
    return parser
