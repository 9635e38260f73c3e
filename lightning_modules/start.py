"""A quicker start of everything that trains: Lightning imports torchmetrics, which for metrics that nobody here asks for
imports all of transformers and matplotlib, a third of the time until the first line of ours runs."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

#: What torchmetrics is told is not installed. It says so to whoever asks for a metric that needs it.
SPARED = ("transformers", "matplotlib")


def spare_metrics() -> None:
    """Import torchmetrics without them, unless it is there already or is not installed; call before `import
    lightning`."""
    if "torchmetrics" in sys.modules or importlib.util.find_spec("torchmetrics") is None:
        return
    from lightning_utilities.core.imports import RequirementCache

    plain = RequirementCache._check_requirement

    def check(self: Any) -> None:
        if str(self.requirement).startswith(SPARED):
            self.available, self.message = False, f"{self.requirement}: not looked for, see lightning_modules/start.py"
        else:
            plain(self)

    RequirementCache._check_requirement = check  # type: ignore[method-assign]
    try:
        import torchmetrics  # noqa: F401
    finally:
        RequirementCache._check_requirement = plain  # type: ignore[method-assign]
