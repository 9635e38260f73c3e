"""`tenet corpus sweep | vocabulary`: small models trained on variants of a corpus, to find out what its parts are worth and
how large its vocabulary should be."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

SWEEP = """examples
  tenet corpus sweep --domain my_assistant --held ./other_texts --out runs/sweep
  tenet corpus sweep --sources ./books ./web --held held.jsonl --seeds 3 --tokens 2M --variant filters.gopher=reference --variant passages=50
"""
VOCABULARY = """examples
  tenet corpus vocabulary --run runs/mine --sizes 1024,2048,4096,8192             at the compute of 500K tokens
  tenet corpus vocabulary --run runs/mine --sizes 8192,16384 --budget 20T --seeds 5 --preset 8b --out runs/vocabulary
"""


def add_parsers(actions: Any) -> None:
    """The flags of both."""
    raw = argparse.RawDescriptionHelpFormatter
    sweep = actions.add_parser(
        "sweep", help="what each filter and source is worth in bits per byte", epilog=SWEEP, formatter_class=raw
    )
    sweep.add_argument("--preset", default="tiny", help="whose model and training settings are used")
    sweep.add_argument("--domain", default=None, help="subject, whose sources are used where no others are named")
    sweep.add_argument("--sources", nargs="+", default=[], metavar="PATH|NAME", help="as `tenet corpus --sources` takes them")
    sweep.add_argument("--held", type=Path, required=True, help="file or folder of texts to measure on")
    sweep.add_argument("--variant", action="append", default=[], metavar="KEY=VALUE", help="a change of your own, to compare too")
    sweep.add_argument("--only", action="append", default=[], metavar="NAME", help="of the variants only these (and `as it is`)")
    sweep.add_argument("--seeds", type=int, default=3, help="trainings of each variant (default 3)")
    sweep.add_argument("--tokens", default="500K", help="that each training sees (default 500K)")
    sweep.add_argument("--out", type=Path, required=True, help="folder of the runs; the same command goes on in it")
    sweep.add_argument("--dry-run", action="store_true", help="name the variants and stop")
    sizes = actions.add_parser(
        "vocabulary", help="which size of vocabulary, at equal compute", epilog=VOCABULARY, formatter_class=raw
    )
    sizes.add_argument("--run", type=Path, required=True, help="run folder with a finished corpus")
    sizes.add_argument("--sizes", required=True, metavar="N,N,...", help="entries of the tokenizers, with commas between")
    sizes.add_argument(
        "--budget", default="", metavar="FLOPS", help="of each training, e.g. 2T (default: 500K tokens at the run's)"
    )
    sizes.add_argument("--preset", default="tiny", help="whose model and training settings are used")
    sizes.add_argument("--seeds", type=int, default=3, help="trainings of each size (default 3)")
    sizes.add_argument(
        "--out", type=Path, default=None, help="folder of the runs (default RUN/vocabulary); the command goes on in it"
    )
    sizes.add_argument("--dry-run", action="store_true", help="say what would be trained and stop")


def run_sweep(chosen: argparse.Namespace, source: Callable[[str], dict[str, str]]) -> int:
    """`tenet corpus sweep`; `source` reads a word of `--sources`."""
    from tenet.flags import named_domain
    from tenet.pipeline.run import domain_of
    from tenet.pipeline.sweep import as_text, held_texts, sweep, variants
    from tenet.planning.settings import count
    from tenet.settings.build import build
    from tenet.settings.preset import load_preset
    from tenet.stages.corpus import guest_of

    preset = load_preset(chosen.preset)
    if (named := named_domain(chosen.domain)) is not None:
        preset = dataclasses.replace(preset, domain=named)
    sources = tuple(build(SourceConfig, source(name), "--sources") for name in chosen.sources)
    config = dataclasses.replace(
        preset.corpus, sources=sources or preset.corpus.sources, instructions=0, preferences=0, requests=0
    )
    config = dataclasses.replace(config, sources=guest_of(config, domain_of(preset)).sources)
    made = variants(config, chosen.variant)
    if unknown := [name for name in chosen.only if name not in made]:
        raise ConfigError(f"--only {unknown[0]!r}: there are {', '.join(made)}")
    made = {name: one for name, one in made.items() if not chosen.only or name in ("as it is", *chosen.only)}
    _check_seeds(chosen.seeds)
    held = held_texts(chosen.held)
    print(f"{len(made)} variants x {chosen.seeds} seeds of {count(chosen.tokens):,.0f} tokens: {', '.join(made)}", flush=True)
    if chosen.dry_run:
        return 0
    worth = sweep(preset, made, held, range(chosen.seeds), chosen.out, count(chosen.tokens))
    print(as_text(worth, len(held)))
    return 0


def _check_seeds(seeds: int) -> None:
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; at least 1, and 3 before a claim")


def run_vocabulary(chosen: argparse.Namespace) -> int:
    """`tenet corpus vocabulary`."""
    from tenet.corpus.cards.inspection import corpus_folder
    from tenet.files import read_json
    from tenet.pipeline import vocabulary
    from tenet.planning.settings import count
    from tenet.settings.preset import load_preset

    corpus, preset = corpus_folder(chosen.run), load_preset(chosen.preset)
    try:
        sizes = [int(size) for size in chosen.sizes.split(",")]
    except ValueError:
        raise ConfigError(f"--sizes {chosen.sizes!r}: write numbers with commas between, e.g. 1024,2048,4096") from None
    vocabulary.check_sizes(sizes)
    _check_seeds(chosen.seeds)
    entries = read_json(corpus / "card.json")["tokenizer"]["entries"]
    budget = count(chosen.budget) if chosen.budget else vocabulary.budget_of(preset, entries)
    each = ", ".join(f"{size:,} ({vocabulary.tokens_for(preset, size, budget):,} tokens)" for size in sizes)
    print(f"{len(sizes)} sizes x {chosen.seeds} seeds at {budget:.3g} FLOPs: {each}", flush=True)
    if chosen.dry_run:
        return 0
    held = len(vocabulary.held_documents(corpus))
    found = vocabulary.vocabulary(preset, corpus, sizes, range(chosen.seeds), chosen.out or chosen.run / "vocabulary", budget)
    print(vocabulary.as_text(found, held, chosen.seeds, budget))
    return 0
