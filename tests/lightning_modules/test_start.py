"""What trains starts without what it does not need."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import lightning_modules.modules.pretrain, lightning_modules.training.trainer
early = [name for name in ("transformers", "matplotlib") if name in sys.modules]
assert not early, f"{early} came with Lightning"
assert "lightning" in sys.modules and "torchmetrics" in sys.modules
from lightning_utilities.core.imports import RequirementCache
assert RequirementCache("transformers") and RequirementCache("matplotlib"), "others are still told that they are installed"
import torchmetrics
assert float(torchmetrics.MeanMetric()(2.0)) == 2.0
"""


def test_lightning_comes_without_what_only_metrics_need() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
