"""What interruptions and checkpoints cost: how often to save, and how much longer a run takes.

Young (CACM 17(9), 1974) for the interval, Daly (Future Generation Computer Systems 22(3), 2006) for the time.
"""

from __future__ import annotations

import math

#: Llama 3 405B: 419 unexpected interruptions in a 54-day window on 16,384 GPUs (arXiv:2407.21783, section 3.3.4).
LLAMA_MTBF_HOURS = 16_384 * 54 * 24 / 419


def interval(checkpoint: float, mtbf: float) -> float:
    """Seconds of work between checkpoints that lose least: sqrt(2 C M), right while C is much less than M.

    Args:
        checkpoint: seconds that one checkpoint stops training.
        mtbf: mean seconds between two interruptions of the job.
    """
    return math.sqrt(2 * checkpoint * mtbf)


def wall(work: float, every: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """Seconds that a run takes, with interruptions at random (exponential) times.

    Each stretch of `every` seconds of work and a checkpoint is begun anew, after a restart, until it comes through.

    Args:
        work: seconds without any of it; every: of work between checkpoints.
        checkpoint, restart: seconds of each; mtbf: mean seconds between interruptions, may be infinite.

    Returns:
        Infinity where it would practically never end.
    """
    if math.isinf(mtbf):
        return work * (1 + checkpoint / every)
    exponent = (every + checkpoint) / mtbf
    if exponent + restart / mtbf > 100:
        return math.inf
    return mtbf * math.exp(restart / mtbf) * math.expm1(exponent) * work / every
