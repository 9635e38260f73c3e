"""The sandbox and the verifier of code: samples per second, and verdicts beside those of plain CPython.

    python -m benchmarks.sandbox --data ../shared/data              # all of it, about two minutes
    python -m benchmarks.sandbox --data ../shared/data --only speed

`--data` is a folder with humaneval/HumanEval.jsonl.gz and mbpp/mbpp.jsonl.gz. Every answer goes through the expressions of
the task's YAML, as in an evaluation.

speed      HumanEval's own solutions with their tests, judged by two threads; processor time is of everything: the caller, the
           processes that programs are forked from, programs and tests.
answers    the solutions of HumanEval (164) and MBPP (974): all have to pass.
mutants    200 of them with one place of the syntax tree changed (a comparison, an operator, a constant, a condition, a
           returned value), judged here and by a plain `python` on program and tests together. Those that take too long in
           either are counted apart.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.evaluate.filling import value
from tenet.evaluate.tasks import load_task
from tenet.sandbox.client import require, shut
from tenet.verifiers import VERIFIERS, Verdict, read_verifier, verify
from tenet.verifiers.code import SECONDS

Row = dict[str, Any]
_COMPARE = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
_BINARY = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """A row with its verifier, a right answer, and all of it as one plain program."""

    name: str
    row: Row
    solution: str

    def verdict(self, program: str) -> Verdict:
        return verify(self.row, f"```python\n{program}\n```")

    def plain(self, program: str) -> str:
        spec = self.row["verifier"]
        if "test" in spec:
            return f"{spec['prefix']}\n\n{program}\n\n{spec['test']}\n\ncheck({spec['entry_point']})\n"
        return "\n".join([program, spec.get("setup", ""), *spec["tests"]])


def questions(data: Path, task_name: str, solution: str) -> list[Question]:
    task = load_task(task_name)
    with gzip.open(data / task.data.removeprefix("data:"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    made = []
    for row in rows:
        spec = read_verifier(value(task, "verifier", row), row, VERIFIERS, None)
        whole = row.get("prompt", "") + row[solution]
        made.append(Question(f"{task_name} {value(task, 'id', row)}", {**row, "verifier": spec}, whole))
    return made


def judged(pairs: Sequence[tuple[Question, str]]) -> list[Verdict]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda pair: pair[0].verdict(pair[1]), pairs))


def processor_seconds() -> float:
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def speed(asked: Sequence[Question], samples: int) -> None:
    pairs = [(asked[i % len(asked)], asked[i % len(asked)].solution) for i in range(samples)]
    judged(pairs[:4])
    shut()
    began, used = time.monotonic(), processor_seconds()
    passed = sum(verdict.score for verdict in judged(pairs))
    wall = time.monotonic() - began
    shut()
    cost = (processor_seconds() - used) / samples
    print(f"speed     {samples} samples on {os.cpu_count()} cores, {passed:.0f} passed: {samples / wall:.0f} samples/s, "
          f"{1000 * cost:.1f} ms of processor time each ({1 / cost:.0f} per CPU second), start included")  # fmt: skip


def answers(name: str, asked: Sequence[Question]) -> None:
    began = time.monotonic()
    verdicts = judged([(question, question.solution) for question in asked])
    wrong = [(question.name, verdict.errors) for question, verdict in zip(asked, verdicts, strict=True) if verdict.score < 1]
    print(f"answers   {name}: {len(asked) - len(wrong)} of {len(asked)} solutions pass, {time.monotonic() - began:.1f} s")
    for place, errors in wrong:
        print(f"          {place}: {'; '.join(errors)}")


# --- mutants ---------------------------------------------------------------------------------------------------------


def mutations(tree: ast.Module) -> Iterator[Any]:
    """Functions that change one place each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARE:
            yield lambda node=node: node.ops.__setitem__(0, _COMPARE[type(node.ops[0])]())
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _BINARY:
            yield lambda node=node: setattr(node, "op", _BINARY[type(node.op)]())
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield lambda node=node: setattr(node, "value", node.value + 1)
        elif isinstance(node, (ast.If, ast.While)):
            yield lambda node=node: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
        elif isinstance(node, ast.Return) and node.value:
            yield lambda node=node: setattr(node, "value", ast.Constant(None))
        elif isinstance(node, ast.BoolOp):
            yield lambda node=node: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())


def mutant(source: str, draw: random.Random) -> str:
    tree = ast.parse(source)
    places = list(mutations(tree))
    if not places:
        return source
    draw.choice(places)()
    return ast.unparse(ast.fix_missing_locations(tree))


def plain(program: str) -> str:
    """passed, failed or too long, by a plain Python on a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(program, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-S", str(path)], cwd=folder, timeout=6 * SECONDS, check=False, capture_output=True,
                stdin=subprocess.DEVNULL, env={"PYTHONHASHSEED": "0"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "too long"
    return "passed" if done.returncode == 0 else "failed"


def mutants(asked: Sequence[Question], count: int, seed: int) -> None:
    draw = random.Random(seed)
    pairs: list[tuple[Question, str]] = []
    while len(pairs) < count:
        question = draw.choice(asked)
        changed = mutant(question.solution, draw)
        if changed != ast.unparse(ast.parse(question.solution)):
            pairs.append((question, changed))
    table: Counter[tuple[str, str]] = Counter()
    for (question, program), verdict in zip(pairs, judged(pairs), strict=True):
        here = "passed" if verdict.score == 1 else "too long" if "more time" in "".join(verdict.errors) else "failed"
        there = plain(question.plain(program))
        table[here, there] += 1
        if here != there and "too long" not in (here, there):
            print(f"          {question.name}: {here} here ({'; '.join(verdict.errors)}), {there} in plain Python\n{program}")
    equal = sum(number for (here, there), number in table.items() if here == there)
    late = sum(number for pair, number in table.items() if "too long" in pair)
    print(f"mutants   {count} (seed {seed}): {equal} judged as plain Python judges them, {late} too long in either; "
          + ", ".join(f"{here}/{there} {number}" for (here, there), number in sorted(table.items())))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=("speed", "answers", "mutants"))
    parser.add_argument("--samples", type=int, default=656)
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    require()
    human = questions(given.data, "humaneval", "canonical_solution")
    basic = questions(given.data, "mbpp", "code")
    if given.only in (None, "speed"):
        speed(human, given.samples)
    if given.only in (None, "answers"):
        answers("HumanEval", human)
        answers("MBPP", basic)
    if given.only in (None, "mutants"):
        mutants([*human, *basic], given.mutants, given.seed)


if __name__ == "__main__":
    main()
