"""Settings of step 8."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_modules.config import ComputeConfig
from tenet.settings.checks import Count, at_least, some_rows


@dataclass(frozen=True)
class EvaluateConfig:
    """Step 8.

    Args:
        tasks: names of files in tenet/evaluate/tasks, of suites, paths of YAML files, and "domain" for the subject's own.
        models: model folders and endpoints' URLs to evaluate in place of the run's checkpoints; the others are compared
            with the first.
        model_id: under which an endpoint knows its model.
        rows: rows of each task (the first ones of a seeded shuffle), or all.
        shots: examples with their answers before each question of the tasks that take some; null is what each task says.
        data: folder of benchmark files, for tasks whose data is `data:FILE`.
    """

    tasks: tuple[str, ...] = field(default=("arc_easy", "sciq", "piqa", "domain"), metadata={"path": "inputs"})
    models: tuple[str, ...] = field(default=(), metadata={"path": "inputs"})
    model_id: str = "tenet.assistant-v1:0"
    rows: Count = 100
    shots: int | None = None
    data: str = ""
    max_tokens: int = 64
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        some_rows("evaluate", self, "rows")
        at_least("evaluate", self, 1, "max_tokens")
        if self.shots is not None:
            at_least("evaluate", self, 0, "shots")
