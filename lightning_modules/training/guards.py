"""What must not happen in policy optimisation: each sign is warned of, and where it stays, training halts.

A halted fit hands on the last weights that no guard objected to, not the ones that set it off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from lightning_modules.config import GuardLimits
from lightning_modules.generation.experience import Probe


@dataclass
class Guards:
    """Looks at the metrics of each round.

    Args:
        limits: what is too much; 0 switches a guard off.
        remembered: what it carries from round to round: values of the first one, the best look at the gold measure, and
            how often in a row a guard has spoken. Goes through checkpoints, so it holds numbers and lists of them only.
    """

    limits: GuardLimits
    remembered: dict[str, Any] = field(default_factory=dict)

    @property
    def watches_gold(self) -> bool:
        """Whether there is a gold measure: weights are good only where it was looked at."""
        return "best/gold" in self.remembered

    def look(self, metrics: dict[str, float], probe: Probe | None = None) -> tuple[list[str], str]:
        """Judge one round.

        Args:
            metrics: with "kl", "ratio/mean", "rollout/entropy", "rollout/length_p95", "rollout/truncated" and
                "rollout/zero_variance", each where it is known.
            probe: a look at the gold measure, where there was one.

        Returns:
            warnings, and why to halt ("" to go on).
        """
        spoken = self._spoken(metrics)
        if probe is not None and self.limits.gold and (text := self._gold(probe)):
            spoken["gold"] = text
        for name in list(self.remembered):
            # A sign that nobody looked for has not gone away.
            if name.startswith("row/") and name.removeprefix("row/") not in spoken and (name != "row/gold" or probe is not None):
                del self.remembered[name]
        halt = ""
        for name, text in spoken.items():
            row = self.remembered[f"row/{name}"] = self.remembered.get(f"row/{name}", 0.0) + 1
            most = {"kl": 1, "not_finite": 1, "gold": self.limits.gold_patience}.get(name, self.limits.patience)
            if not halt and row >= most:
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

    def _gold(self, probe: Probe) -> str:
        """Reward hacking: what is paid has risen since the gold measure was at its best, and that has fallen.

        Both are differences prompt by prompt, so that neither how hard the prompts are nor the luck of the draw, which
        is the same each time, counts as a change.
        """
        best = self.remembered.setdefault("best/gold", list(probe.gold))
        paid = self.remembered.setdefault("best/paid", list(probe.paid))
        fall, fall_error = _paired(best, probe.gold)
        rise, rise_error = _paired(probe.paid, paid)
        if fall > self.limits.gold * fall_error and rise > self.limits.gold * rise_error:
            return (
                f"the gold measure fell from {fmean(best):.3f} to {fmean(probe.gold):.3f} while the reward rose from "
                f"{fmean(paid):.3f} to {fmean(probe.paid):.3f}, each by more than {self.limits.gold:g} standard errors"
            )
        if fall < 0:
            self.remembered |= {"best/gold": list(probe.gold), "best/paid": list(probe.paid)}
        return ""


def _paired(more: Sequence[float], less: Sequence[float]) -> tuple[float, float]:
    """Mean difference with its standard error."""
    apart = [a - b for a, b in zip(more, less, strict=True)]
    return fmean(apart), stdev(apart) / math.sqrt(len(apart))
