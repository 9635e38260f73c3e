"""Settings of step 8."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_modules.config import ComputeConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """Step 8.

    Args:
        tasks: names of files in tenet/evaluate/tasks or of the domain's own tasks, or paths of YAML files.
        rows: rows of each task (the first ones of a seeded shuffle); 0 takes all.
    """

    tasks: tuple[str, ...] = ("arc_easy", "sciq", "piqa", "aws_description", "aws_operation", "aws_tool")
    rows: int = 100
    max_tokens: int = 64
    compute: ComputeConfig = field(default_factory=ComputeConfig)
