"""`tenet evaluate list | check | compare | long`: what can be asked, a look at a task of one's own, two evaluations held
against each other, long-context tasks for a model; and the short forms of the stage's own flags."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.errors import FAILED, ConfigError

WORDS = ("list", "check", "compare", "long")
COMPARE = """examples
  tenet evaluate compare runs/a runs/b                       the last checkpoint of each, on the rows that both were asked
  tenet evaluate compare runs/a runs/a --stages finetune,rlhf
  tenet evaluate compare runs/main runs/branch --alarm       1 where a task got worse (p < 0.05, Holm): for CI
"""
CHECK = """examples
  tenet evaluate check my_task.yaml                          three rows as the model sees them, and what is refused
  tenet evaluate check my_task.yaml --shots 5 --rows 1
"""
LONG = """examples
  tenet evaluate long --model DIR --out long --lengths 4096,32768 --haystack book.txt
  tenet evaluate --model DIR --tasks long/niah_single_2_4096.yaml,long/needle_grid.yaml --run runs/long
"""


def wanted(words: Sequence[str]) -> bool:
    """Are these words of this module, and not the stage's own flags?"""
    return bool(words) and words[0] in WORDS


def short_flags(words: Sequence[str]) -> list[str]:
    """`--tasks a,b` as a list, `--limit N` as `--rows N`."""
    found = []
    for i, word in enumerate(words):
        flag, equals, given = word.partition("=")
        if flag == "--limit":
            word = f"--rows{equals}{given}"
        elif flag == "--tasks" and equals:
            word = f"--tasks={_listed(given)}"
        elif i and words[i - 1] == "--tasks":
            word = _listed(word)
        found.append(word)
    return found


def _listed(names: str) -> str:
    if names.lstrip().startswith("["):
        return names
    return json.dumps([name.strip() for name in names.split(",") if name.strip()])


def evaluate_command(words: list[str]) -> int:
    """Entry of the command line."""
    parser = argparse.ArgumentParser("tenet evaluate", description="Look at tasks and at finished evaluations.")
    commands = parser.add_subparsers(required=True)
    raw = argparse.RawDescriptionHelpFormatter
    one = commands.add_parser("list", help="the tasks and suites that can be asked")
    one.add_argument("--domain", default="", help="with the own tasks of this subject")
    one.set_defaults(run=_list)
    one = commands.add_parser("check", help="one task as the model sees it", epilog=CHECK, formatter_class=raw)
    one.add_argument("task", help="a name, or the path of a YAML file")
    one.add_argument("--rows", type=int, default=3, help="how many are shown")
    one.add_argument("--shots", type=int, default=None, help="examples before the question")
    one.add_argument("--data", type=Path, default=None, help="folder of benchmark files, for `data:`")
    one.set_defaults(run=_check)
    one = commands.add_parser("compare", help="two evaluations, row by row", epilog=COMPARE, formatter_class=raw)
    one.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="folder of a run, or of its evaluate stage")
    one.add_argument("--stages", default="", help="one checkpoint of each, as A,B (default: the last)")
    one.add_argument("--alarm", action="store_true", help="end with 1 where a task got worse")
    one.add_argument("--json", action="store_true", help="as JSON")
    one.set_defaults(run=_compare)
    one = commands.add_parser("long", help="write long-context tasks (RULER's) for a model", epilog=LONG, formatter_class=raw)
    one.add_argument("--model", type=Path, required=True, help="whose tokenizer and chat template count the tokens")
    one.add_argument("--out", type=Path, required=True, help="folder for the tasks and their rows")
    one.add_argument("--lengths", default="4096", help="tokens of a prompt, as A,B,...")
    one.add_argument("--rows", type=int, default=20, help="of each task and length")
    one.add_argument("--haystack", type=Path, default=None, help="a text to hide things in (default: repeated sentences)")
    one.add_argument("--seed", type=int, default=0, help="same seed, tokenizer and text, same bytes")
    one.add_argument("--tasks", default="", help="RULER's names as A,B,... (default: all that need no file of questions)")
    one.add_argument("--grid", type=int, default=0, metavar="DEPTHS", help="a needle grid with so many depths, too")
    one.set_defaults(run=_long)
    parsed = parser.parse_args(words)
    code: int = parsed.run(parsed)
    return code


def _list(parsed: argparse.Namespace) -> int:
    from tenet.domains.loading import load_domain
    from tenet.evaluate.tasks import SUITES, load_task, task_names

    own = load_domain(parsed.domain).tasks if parsed.domain else ()
    for name in (*task_names(), *(path.stem for path in own)):
        task = load_task(name, own)
        print(f"{name:18} {task.kind:9} {task.metric:12} {task.about}  [{task.data}]")
    print()
    for suite, names in SUITES.items():
        print(f"suite {suite}: {', '.join(names)}")
    return 0


def _check(parsed: argparse.Namespace) -> int:
    import dataclasses

    from tenet.evaluate.items import load_items
    from tenet.evaluate.tasks import load_task

    task = load_task(parsed.task)
    if parsed.shots is not None:
        task = dataclasses.replace(task, shots=parsed.shots)
    loaded = load_items(task, 0, 0, None, folder=parsed.data)
    print(
        f"{task.name}: {len(loaded.items)} questions of {loaded.available} rows, kind {task.kind}, metric {task.metric}, "
        f"without a model {loaded.baseline:.3f}, sha256 of the data {loaded.sha256}"
    )
    for item in loaded.items[: parsed.rows]:
        print(f"\n--- row {item.number}, id {item.id}")
        for line in _shown(task, item):
            print(line)
        if task.kind == "tool":
            print(f"tools: {', '.join(tool['function']['name'] for tool in item.tools or [])}\ngold: {item.gold!r}")
        if task.kind == "generate":
            print(f"gold: {item.gold!r}\nwhat the verifier makes of sample answers:")
            for answer, said in _samples(loaded, item):
                print(f"  {answer!r:60.60} {said}")
    return 0


def _shown(task: Any, item: Any) -> list[str]:
    from tenet.evaluate.items import golds

    lines = [prompt if isinstance(prompt, str) else json.dumps(prompt, indent=1, ensure_ascii=False) for prompt in item.prompts]
    right = golds(item) if task.kind == "choice" else ()
    return lines + [f"{'*' if i in right else ' '} {i}: {task.separator + choice!r}" for i, choice in enumerate(item.choices)]


def _samples(loaded: Any, item: Any) -> list[tuple[str, str]]:
    """Six answers: the right one in three forms, one of another row, none, and one that gives up."""
    from tenet.verifiers import verify

    gold = item.gold if isinstance(item.gold, str) else json.dumps(item.gold, ensure_ascii=False)
    others = [one.gold for one in loaded.items if one.gold != item.gold]
    other = str(others[0]) if others else "something else"
    answers = [gold, f"The answer is {gold}.", f"**{gold}**", other, "", "I do not know."]
    found = []
    for answer in answers:
        verdict = verify(item.row, answer, (), loaded.verifiers)
        found.append((answer, f"{verdict.score:.2f}  {'; '.join(verdict.errors)}"))
    return found


def _long(parsed: argparse.Namespace) -> int:
    from lightning_modules.data.chat import ChatTokenizer
    from tenet.evaluate.long_context.fitting import chat_count
    from tenet.evaluate.long_context.haystack import read_haystack
    from tenet.evaluate.long_context.suite import WITHOUT_QUESTIONS, write_grid, write_suite

    try:
        lengths = [int(length) for length in parsed.lengths.split(",")]
    except ValueError:
        raise ConfigError(f"--lengths {parsed.lengths}: give numbers of tokens, as 4096,32768") from None
    if parsed.rows < 1:
        raise ConfigError(f"--rows {parsed.rows}: give at least 1")
    count = chat_count(ChatTokenizer.from_folder(parsed.model))
    haystack = read_haystack(parsed.haystack) if parsed.haystack else None
    tasks = parsed.tasks.split(",") if parsed.tasks else WITHOUT_QUESTIONS
    made = write_suite(parsed.out, lengths, parsed.rows, parsed.seed, count, haystack, tasks)
    if parsed.grid:
        depths = [10_000 * i // max(1, parsed.grid - 1) for i in range(parsed.grid)]
        made.append(write_grid(parsed.out, lengths, depths, parsed.rows, parsed.seed, count, haystack))
    for path in made:
        print(path)
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from tenet.evaluate.paired_runs import compare_runs

    stages = tuple(parsed.stages.split(",")) if parsed.stages else ("", "")
    if len(stages) != 2:
        raise ConfigError(f"--stages {parsed.stages}: give two, as finetune,rlhf")
    found, notes = compare_runs(parsed.runs[0], parsed.runs[1], stages)
    worse = [one.task for one in found if one.worse]
    if parsed.json:
        rows = [
            {"task": one.task, "before": one.before, "after": one.after, "p_holm": one.p_holm} | vars(one.difference)
            for one in found
        ]
        print(json.dumps({"tasks": rows, "notes": notes, "worse": worse}, indent=2))
    else:
        _print_compared(found, notes, worse)
    return FAILED if worse and parsed.alarm else 0


def _print_compared(found: Sequence[Any], notes: Sequence[str], worse: Sequence[str]) -> None:
    print(
        f"{'task':20} {'rows':>6} {'first':>7} {'second':>7} {'difference [95 %]':>27} {'p (Holm)':>9} {'lost/won':>9}  could have seen"
    )
    for one in found:
        d = one.difference
        span = f"{d.difference:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
        moved = f"{d.lost}/{d.won}"
        print(
            f"{one.task:20} {d.n:6} {one.before:7.3f} {one.after:7.3f} {span:>27} {one.p_holm:9.2g} {moved:>9}  {d.detectable:.3f}"
        )
        if one.only:
            print(f"{'':20} {one.only} rows were asked of only one of the two and are left out")
    for note in notes:
        print(note)
    better = [one.task for one in found if one.better]
    print(f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'} (p < 0.05, Holm)")
