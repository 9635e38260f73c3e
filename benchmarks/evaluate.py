"""Log-likelihoods beside lm-eval: the same rows, weights and examples, value by value and in CPU seconds.

    LM_EVAL=/path/to/python python -m benchmarks.evaluate equal --model DIR --rows 200 --shots 0 5 --noise 0 0.02
    LM_EVAL=/path/to/python python -m benchmarks.evaluate speed --model DIR --tasks arc_easy:0 hellaswag:0 mmlu:5 --rows 50

LM_EVAL names an interpreter that has lm-eval 0.4.13 (it wants packages that the project does not). Its own tasks are
asked, with nothing but the place of their rows changed. `equal` compares every log-likelihood and whether greedy
decoding would have written it, on the weights and on copies with noise (that many standard deviations of each matrix);
`speed` takes lm-eval at each of its batch sizes, all on one thread, one after the other, and prints ratios to its best.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tenet.assistant.local import LocalAssistant
from tenet.evaluate.items import Loaded, load_items
from tenet.evaluate.runner import request_pairs
from tenet.evaluate.task_rows import read_rows
from tenet.evaluate.tasks import load_task

#: Ours to lm-eval's name.
TASKS = {
    "arc_easy": "arc_easy", "arc_challenge": "arc_challenge", "hellaswag": "hellaswag", "piqa": "piqa", "winogrande": "winogrande",
    "openbookqa": "openbookqa", "boolq": "boolq", "commonsense_qa": "commonsense_qa", "social_iqa": "social_iqa", "sciq": "sciq",
    "mmlu": "mmlu_abstract_algebra",
}  # fmt: skip
BATCHES = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("equal", "speed"):
        one = commands.add_parser(name)
        one.add_argument("--model", type=Path, required=True)
        one.add_argument("--rows", type=int, default=200)
        if name == "equal":
            one.add_argument("--tasks", nargs="+", default=list(TASKS))
            one.add_argument("--shots", nargs="+", type=int, default=[0, 5])
            one.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.02])
        else:
            one.add_argument("--tasks", nargs="+", default=["arc_easy:0", "hellaswag:0", "mmlu:5"], help="NAME:EXAMPLES")
            one.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parsed = parser.parse_args()
    if not os.environ.get("LM_EVAL"):
        sys.exit("LM_EVAL is not set; name a Python that has lm-eval 0.4.13")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        (equal if parsed.what == "equal" else speed)(parsed, Path(folder))


def equal(parsed: argparse.Namespace, folder: Path) -> None:
    """Largest difference and flipped answers, by task, examples and weights."""
    worst = flipped = 0.0
    for noise in parsed.noise:
        model = noisy(parsed.model, noise, folder / f"noise{noise}") if noise else parsed.model
        assistant = LocalAssistant.from_folder(model)
        for shots in parsed.shots:
            loaded = {name: asked(name, shots, parsed.rows, folder) for name in parsed.tasks}
            theirs = peer(model, shots, parsed.rows, 8, {name: files for name, (_, files) in loaded.items()}, folder)
            for name, (one, _) in loaded.items():
                ours, seconds = scored(assistant, one)
                far, flips = differences(ours, theirs[name]["rows"])
                worst, flipped = max(worst, far), flipped + flips
                print(
                    f"noise {noise}, {shots} examples, {name:16} {len(one.items)} rows: largest difference {far:.1e}, "
                    f"{flips} flipped; CPU s {seconds:.1f} against {theirs[name]['seconds']:.1f} (batch 8)",
                    flush=True,
                )
                check_prompts(one, theirs[name]["prompts"])
    print(f"in all: largest difference {worst:.1e}, {flipped:.0f} flipped")


def speed(parsed: argparse.Namespace, folder: Path) -> None:
    """Requests per CPU second beside lm-eval at its best batch size."""
    assistant = LocalAssistant.from_folder(parsed.model)
    for name, _, count in (task.partition(":") for task in parsed.tasks):
        one, files = asked(name, int(count or 0), parsed.rows, folder)
        requests = sum(len(item.choices) for item in one.items)
        best, shown = 0.0, []
        for batch in parsed.batches:
            theirs = peer(parsed.model, int(count or 0), parsed.rows, batch, {name: files}, folder)[name]
            best = max(best, requests / theirs["seconds"])
            shown.append(f"batch {batch} {requests / theirs['seconds']:.1f}")
        ours, seconds = scored(assistant, one)
        far, flips = differences(ours, theirs["rows"])
        print(
            f"{name}, {count or 0} examples, {requests} requests: {requests / seconds:.1f} per CPU s against "
            f"{', '.join(shown)}: {requests / seconds / best:.2f} times the best; largest difference {far:.1e}, {flips} flipped",
            flush=True,
        )


def asked(name: str, shots: int, rows: int, folder: Path) -> tuple[Loaded, dict[str, str]]:
    """The first rows of a task, and its rows as files that lm-eval reads."""
    task = dataclasses.replace(load_task(name), shots=shots)
    data = list(read_rows(task))
    if name == "mmlu":
        data = [row for row in data if row["subject"] == "abstract_algebra"]
    files = {"data": str(write(folder / f"{name}.jsonl", [lm_eval_row(name, row) for row in data]))}
    if task.shots_data:
        examples = [row for row in read_rows(task, spec=task.shots_data) if row["subject"] == data[0]["subject"]]
        files["examples"] = str(write(folder / f"{name}_dev.jsonl", examples))
    loaded = load_items(task)
    return dataclasses.replace(loaded, items=loaded.items[: min(rows, len(data))]), files


def lm_eval_row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """BoolQ's rows as SuperGLUE writes them, which is where lm-eval has them from; the others as they are."""
    return {**row, "label": int(row["answer"])} if name == "boolq" else row


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def peer(model: Path, shots: int, rows: int, batch: int, tasks: dict[str, dict[str, str]], folder: Path) -> dict[str, Any]:
    """What lm-eval makes of the same, by our names of the tasks."""
    job: dict[str, Any] = {"model": str(model), "batch": batch, "rows": rows, "shots": shots, "out": str(folder / "peer.json")}
    job["tasks"] = [{"name": TASKS[name], **files} for name, files in tasks.items()]
    script = Path(__file__).with_name("evaluate_peer.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [os.environ["LM_EVAL"], str(script)], input=json.dumps(job), capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        sys.exit(f"lm-eval ended with {done.returncode}:\n{done.stderr[-3000:]}")
    found = json.loads(Path(job["out"]).read_text())
    return {name: found[TASKS[name]] for name in tasks}


def scored(assistant: LocalAssistant, loaded: Loaded) -> tuple[list[list[tuple[float, bool]]], float]:
    """Our log-likelihoods by row and choice, with the CPU seconds they took, tokenising included."""
    pairs = [request_pairs(item, loaded.task.separator) for item in loaded.items]
    began = time.process_time()
    flat = iter(assistant.score([pair for group in pairs for pair in group]))
    seconds = time.process_time() - began
    return [[(one.loglik, one.greedy) for one in (next(flat) for _ in group)] for group in pairs], seconds


def differences(ours: list[list[tuple[float, bool]]], theirs: list[list[Any]]) -> tuple[float, int]:
    """Largest difference of a log-likelihood, and rows whose likeliest choice or greedy marks differ."""
    far, flips = 0.0, 0
    for mine, other in zip(ours, theirs, strict=True):
        far = max([far, *(abs(a - b) for (a, _), (b, _) in zip(mine, other, strict=True))])
        best = [max(range(len(side)), key=lambda i: side[i][0]) for side in (mine, other)]
        flips += best[0] != best[1] or [mark for _, mark in mine] != [mark for _, mark in other]
    return far, flips


def check_prompts(loaded: Loaded, theirs: list[list[str]]) -> None:
    """The prompts are the same to the letter."""
    for item, prompts in zip(loaded.items, theirs, strict=True):
        mine = list(item.prompts) if len(item.prompts) > 1 else list(item.prompts) * len(item.choices)
        if mine != prompts:
            raise AssertionError(f"{loaded.task.name}, row {item.number}:\n{mine[0]!r}\n{prompts[0]!r}")


def noisy(model: Path, noise: float, folder: Path) -> Path:
    """A copy whose matrices have been moved by so many of their standard deviations."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    generator = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        moved = {
            n: (t.float() + noise * t.float().std() * torch.randn(t.shape, generator=generator)).to(t.dtype)
            for n, t in tensors.items()
        }
        save_file(moved, path, metadata={"format": "pt"})
    return folder


if __name__ == "__main__":
    main()
