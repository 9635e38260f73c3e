"""Which stages a run has, what each depends on, and how one is started.

from tenet.pipeline import run_stage        # what the notebooks call
"""

from tenet.pipeline.run import run_stage
from tenet.pipeline.table import STAGES, Stage

__all__ = ["STAGES", "Stage", "run_stage"]
