"""What must not happen in policy optimisation: each sign is warned of, and where it stays, training halts.

A halted fit hands on the last weights that no guard objected to, not the ones that set it off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lightning_modules.config import GuardLimits


@dataclass
class Guards:
    """Looks at the metrics of each round.

    Args:
        limits: what is too much; 0 switches a guard off.
        remembered: what it carries from round to round: values of the first one, and how often in a row a guard has
            spoken. Goes through checkpoints, so it holds numbers only.
    """

    limits: GuardLimits
    remembered: dict[str, float] = field(default_factory=dict)

    def look(self, metrics: dict[str, float]) -> tuple[list[str], str]:
        """Judge one round.

        Args:
            metrics: with "kl", "ratio/mean", "rollout/entropy", "rollout/length_p95", "rollout/truncated" and
                "rollout/zero_variance", each where it is known.

        Returns:
            warnings, and why to halt ("" to go on).
        """
        spoken = self._spoken(metrics)
        for name in list(self.remembered):
            if name.startswith("row/") and name.removeprefix("row/") not in spoken:
                del self.remembered[name]
        halt = ""
        for name, text in spoken.items():
            row = self.remembered[f"row/{name}"] = self.remembered.get(f"row/{name}", 0.0) + 1
            if not halt and (name in ("kl", "not_finite") or row >= self.limits.patience):
                halt = text
        return list(spoken.values()), halt

    def _spoken(self, metrics: dict[str, float]) -> dict[str, str]:
        limits, found = self.limits, {}
        if wrong := sorted(name for name, value in metrics.items() if not math.isfinite(value)):
            return {"not_finite": f"{', '.join(wrong)} is no number"}
        if limits.kl and (kl := metrics.get("kl", 0.0)) > limits.kl:
            found["kl"] = f"KL {kl:.3f} nats per token is above the limit {limits.kl:g}"
        if limits.ratio and abs((ratio := metrics.get("ratio/mean", 1.0)) - 1) > limits.ratio:
            found["ratio"] = f"the mean ratio of trainer to sampler is {ratio:.3f}, further from 1 than {limits.ratio:g}"
        if limits.entropy and (entropy := metrics.get("rollout/entropy")) is not None:
            first = self.remembered.setdefault("first/entropy", entropy)
            if entropy < limits.entropy * first:
                found["entropy"] = (
                    f"entropy fell from {first:.3f} to {entropy:.3f} nats per token, below {limits.entropy:g} of it"
                )
        if limits.length and (length := metrics.get("rollout/length_p95")) is not None:
            first = self.remembered.setdefault("first/length", max(1.0, length))
            if length > limits.length * first:
                found["length"] = f"the longest answers grew from {first:g} to {length:g} tokens, above {limits.length:g} times"
        if limits.truncated and (cut := metrics.get("rollout/truncated")) is not None:
            first = self.remembered.setdefault("first/truncated", cut)
            # A preset whose answers are all cut from the start has short answers, and no explosion.
            if cut > limits.truncated >= first:
                found["truncated"] = f"{cut:.0%} of the answers were cut at the limit, above {limits.truncated:.0%}"
        if limits.no_signal and (same := metrics.get("rollout/zero_variance", 0.0)) > limits.no_signal:
            found["no_signal"] = f"{same:.0%} of the groups have answers of one reward, above {limits.no_signal:.0%}"
        return found
