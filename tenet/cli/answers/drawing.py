"""The words that both commands share: two sides, the prompts that they answer, and how answers are drawn."""

from __future__ import annotations

import argparse

from tenet.errors import ConfigError

SIDE = "model folder, URL of an endpoint (URL#MODEL-ID for another model there), or a file of answers"


def add_sides(parser: argparse.ArgumentParser, other: str = "") -> None:
    """`--a`, `--b` and `--prompts`.

    Args:
        other: what it means that `--b` is left out; without one it must be there.
    """
    parser.add_argument("--a", required=True, metavar="MODEL", help=SIDE)
    parser.add_argument("--b", required=not other, default="", metavar="MODEL", help=f"the same{other}")
    parser.add_argument("--prompts", required=True, help="prompt rows (docs/rows.md): .jsonl .json .csv .parquet, ...")


def add_drawing(parser: argparse.ArgumentParser, seeded: str, temperature: float) -> None:
    """How many prompts, and how they are answered.

    Args:
        seeded: what the seed decides.
        temperature: the default.
    """
    parser.add_argument("--limit", type=int, default=0, help="so many prompts, drawn by seed (default 0: all)")
    parser.add_argument("--seed", type=int, default=0, help=f"of {seeded} (default 0)")
    parser.add_argument("--max-tokens", type=int, default=256, help="longest answer (default 256)")
    parser.add_argument("--temperature", type=float, default=temperature, help=f"of the answers (default {temperature:g})")


def check_drawing(chosen: argparse.Namespace) -> None:
    """Refuse what cannot be, before anything is loaded.

    Raises:
        ConfigError: names the flag and its value.
    """
    for flag, value, least in (
        ("limit", chosen.limit, 0),
        ("max-tokens", chosen.max_tokens, 1),
        ("temperature", chosen.temperature, 0),
    ):
        if not value >= least:
            raise ConfigError(f"--{flag} is {value}; it must be {least} or more")
