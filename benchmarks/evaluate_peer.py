"""The other side of `benchmarks/evaluate.py`: lm-eval on the same rows and weights, run by an interpreter that has it.

Reads a job as JSON from standard input, writes what lm-eval computed as JSON to the file that it names. Its own tasks
are asked, with nothing but the place of their rows changed, so that its prompts, its draws of examples and its scoring
are its own.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """One job: {"model", "batch", "rows", "shots", "tasks": [{"name", "data", "examples"}], "out"}."""
    import torch
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM

    job = json.load(sys.stdin)
    torch.set_num_threads(1)
    model = HFLM(pretrained=job["model"], batch_size=job["batch"], device="cpu", dtype="float32")
    spent = [0.0]
    ask = model.loglikelihood

    def timed(requests: Any, **keywords: Any) -> Any:
        began = time.process_time()
        answers = ask(requests, **keywords)
        spent[0] += time.process_time() - began
        return answers

    model.loglikelihood = timed
    found = {}
    for task in job["tasks"]:
        spent[0] = 0.0
        built = own_task(task, job["shots"])
        samples = evaluate(
            lm=model, task_dict={task["name"]: built}, limit=job["rows"], bootstrap_iters=0, log_samples=True, verbosity="ERROR"
        )["samples"][task["name"]]
        samples.sort(key=lambda sample: sample["doc_id"])
        found[task["name"]] = {
            "seconds": spent[0],
            "rows": [[[float(ll), bool(greedy)] for ll, greedy in (answer[0] for answer in s["resps"])] for s in samples],
            "prompts": [[argument[0] for argument in s["arguments"]] for s in samples],
        }
    Path(job["out"]).write_text(json.dumps(found))


def own_task(task: dict[str, Any], shots: int) -> Any:
    """lm-eval's task by its name, reading its rows from a file."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(TaskManager().task_index[task["name"]].yaml_path)
    for key in ("dataset_name", "training_split", "validation_split", "tag", "task_alias", "group"):
        config.pop(key, None)
    files = {"test": task["data"]} | ({"dev": task["examples"]} if task.get("examples") else {})
    split = "dev" if task.get("examples") else "test"
    config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "test_split": "test", "num_fewshot": shots}
    config |= {"fewshot_split": split, "fewshot_config": {**(config.get("fewshot_config") or {}), "split": split}}
    built = ConfigurableTask(config=config)
    built.set_fewshot_seed(seed=1234)
    return built


if __name__ == "__main__":
    main()
