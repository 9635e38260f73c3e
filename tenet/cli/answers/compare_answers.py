"""`tenet compare-answers`: which of two models answers better, by a judge, pair by pair."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenet.cli.answers.drawing import add_drawing, add_sides, check_drawing
from tenet.errors import DONE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tenet.feedback.answering import Answer, Source
    from tenet.feedback.judging.pair_judges import Pair, PairJudge
    from tenet.verifiers import Verifier

EXAMPLES = """examples
  tenet compare-answers --a runs/demo/finetune/model --b runs/demo/rlhf/model --prompts p.jsonl --judge checks --out compared
  tenet compare-answers --a old.jsonl --b new.jsonl --prompts prompts.jsonl --judge http://127.0.0.1:8080 --out compared
  tenet compare-answers --a old.jsonl --b runs/demo/dpo/model --prompts p.jsonl --judge runs/demo/reward/reward --out compared
"""


def compare_answers_command(words: list[str]) -> int:
    """Entry of the command line."""
    chosen = _parser().parse_args(words)
    check_drawing(chosen)
    from lightning_modules.generation.protocol import Sampling
    from tenet.feedback.judging.pair_judges import CRITERION
    from tenet.feedback.judging.score_judges import open_judge
    from tenet.feedback.prompt_set import read_prompts
    from tenet.feedback.sides import open_source

    verifiers = _verifiers(chosen.domain)
    prompts = read_prompts(chosen.prompts, chosen.limit, chosen.seed, verifiers)
    judge = open_judge(chosen.judge, chosen.criterion or CRITERION, verifiers)
    if chosen.judge == "checks" and not any("verifier" in row for row in prompts.rows):
        raise ConfigError(
            f"--judge checks: no prompt of {chosen.prompts} names a verifier; name another judge, or add them (docs/rows.md)"
        )
    sources = (open_source(chosen.a, "--a"), open_source(chosen.b, "--b"))
    sampling = Sampling(max_tokens=chosen.max_tokens, temperature=chosen.temperature, seed=chosen.seed)
    names = {"a": chosen.a, "b": chosen.b, "judge": chosen.judge}
    if chosen.dry_run:
        return _dry_run(prompts.rows, sources, judge, sampling)
    settings = {
        "a": sources[0].identity(),
        "b": sources[1].identity(),
        "judge": judge.identity(),
        "prompts": prompts.sha256,
        "prompts_refused": prompts.refused,
        "limit": chosen.limit,
        "seed": chosen.seed,
        "max_tokens": chosen.max_tokens,
        "temperature": chosen.temperature,
    }
    return _compare(prompts.rows, sources, judge, sampling, Path(chosen.out), settings, names)


def _compare(
    rows: list[Any],
    sources: tuple[Source, Source],
    judge: PairJudge,
    sampling: Any,
    out: Path,
    settings: Any,
    names: dict[str, str],
) -> int:
    from tenet.feedback.answering import draw_answers
    from tenet.feedback.journal import Journal
    from tenet.feedback.judging import comparison

    if comparison.begin(out, settings):
        print(f"{out / comparison.SUMMARY}: finished before; this is from its verdicts")
    sides = [
        draw_answers(source, rows, sampling, Journal(out / f"answers_{side}.jsonl"), print)
        for side, source in zip("ab", sources, strict=True)
    ]
    pairs = _pairs(rows, sides)
    opinions = comparison.judged(pairs, judge, Journal(out / "verdicts.jsonl"), print)
    found = comparison.figures(sides, pairs, opinions, settings["seed"])
    comparison.finish(out, found, comparison.rows_of(pairs, opinions), {**settings, "names": names})
    print(comparison.as_text(found, names))
    print(f"rows and figures: {out}")
    return DONE


def _dry_run(rows: list[Any], sources: tuple[Source, Source], judge: PairJudge, sampling: Any) -> int:
    """One pair as the judge sees it; nothing is judged and nothing is written."""
    first = rows[:1]
    pairs = _pairs(first, [source.draw(first, sampling) for source in sources])
    if not pairs:
        raise ConfigError(
            "--dry-run: the first prompt has no answer on one side, so there is no pair to show; look at --a and --b"
        )
    print(judge.shown(pairs[0]))
    print(f"\n{len(rows)} prompts; nothing was judged and nothing written (--dry-run)")
    return DONE


def _pairs(rows: list[Any], sides: list[list[Answer]]) -> list[Pair]:
    from tenet.feedback.judging.pair_judges import Pair

    return [Pair(row, a, b) for row, a, b in zip(rows, *sides, strict=True) if a.given and b.given]


def _verifiers(domain: str) -> Mapping[str, Verifier]:
    from tenet.verifiers import registry

    if not domain:
        return registry({})
    from tenet.domains.loading import load_code, load_domain

    return registry(load_code(load_domain(domain)).verifiers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tenet compare-answers",
        description="Paired win rate of b over a by a judge: raw and at equal length, with intervals. A model that judges "
        "is asked in both orders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_sides(parser)
    parser.add_argument(
        "--judge", required=True, help="URL of an endpoint, folder of a reward model, or checks: the prompts' verifiers"
    )
    parser.add_argument("--out", required=True, help="folder to write: rows.jsonl, summary.json; the same command goes on")
    parser.add_argument("--criterion", default="", help="what better means, as a question to a judge that reads")
    parser.add_argument("--domain", default="", help="domain whose own verifiers prompts may name")
    add_drawing(parser, "prompts, answers and bootstrap", 0.0)
    parser.add_argument("--dry-run", action="store_true", help="show one pair as the judge sees it and stop")
    return parser
