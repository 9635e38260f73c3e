"""A made-up run folder for the tests of the reports. Nothing here was measured: the numbers only have believable
shapes.

It is written through `tenet.runs.execute`, so that hashes, inputs and file layout are the real ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet.files import read_json, write_bytes, write_json, write_jsonl, write_text
from tenet.runs.execute import execute
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace

READS: dict[str, tuple[str, ...]] = {
    "corpus": (),
    "plan": (),
    "model": ("corpus",),
    "pretrain": ("corpus", "model"),
    "finetune": ("corpus", "pretrain"),
    "dpo": ("corpus", "finetune"),
    "reward": ("corpus", "pretrain"),
    "rlhf": ("corpus", "finetune", "reward"),
    "constitutional": ("corpus", "rlhf"),
    "redteam": ("corpus", "constitutional"),
    "evaluate": ("corpus", "pretrain", "finetune", "rlhf", "constitutional", "redteam"),
    "deploy": ("constitutional", "redteam", "evaluate"),
    "serve": ("corpus", "deploy"),
}
SECONDS = {"corpus": 41.0, "pretrain": 183.0, "rlhf": 96.0, "evaluate": 30.0}
#: Text that a model could really write; a page must show it as text.
HOSTILE = "<script src='https://evil.example/x.js'></script> & <b>bold</b>"


def make_run(run: Path, until: str = "serve") -> Path:
    """Write all stages up to one."""
    for stage, reads in READS.items():
        execute(run, stage, reads, {"lr": 0.003, "optim": {"betas": [0.9, 0.95]}}, _BODIES[stage], seed=0)
        record = read_json(run / stage / "run.json")
        seconds = SECONDS.get(stage, 12.0)
        times = {"seconds": seconds, "cpu_seconds": 1.8 * seconds, "joules": 14.4 * seconds}
        fixed = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:01:00+00:00", "code": "0123456789abcdef0123"}
        write_json(run / stage / "run.json", {**record, **times, **fixed})
        if stage == until:
            break
    return run


def _corpus(_: Any, ws: Workspace) -> Summary:
    counts = (
        ("quality", 24000, 21400),
        ("exact duplicate", 21400, 20900),
        ("near duplicate", 20900, 17100),
        ("size", 17100, 17080),
    )
    card = {
        "filters": [
            {
                "filter": name, "documents_in": came, "documents_out": out, "bytes_in": 900 * came, "bytes_out": 900 * out,
                "reasons": {"too_short": came - out}, "examples": [{"id": "d1", "text": f"removed by {name} {HOSTILE}"}],
            }
            for name, came, out in counts
        ],
        "heldout_overlap": {"value": 0.0586},
        "rows": {"instructions/train": 12000, "preferences/train": 8000},
        "licences": [{"licence": "Apache-2.0", "documents": 15000}, {"licence": "PSF-2.0", "documents": 2080}],
        "sources": [{"source": "botocore 1.44", "documents": 15000, "sha256": "ab" * 32}],
    }  # fmt: skip
    write_json(ws.dir / "card.json", card)
    figures = [
        Figure("tokens kept for training", 3_900_000, "tokens", better="neither"),
        Figure("documents kept", 17080, "documents", better="neither"),
    ]
    return Summary("17,080 of 24,000 documents make 3.9 million tokens.", figures)


def _plan(_: Any, ws: Workspace) -> Summary:
    def row(stage: str, seconds: float) -> dict[str, Any]:
        costs = {"gpu_hours": seconds / 3600, "dollars": 0.0, "joules": 16 * seconds, "kg_co2": 1e-3}
        return {"stage": stage, "tokens": 1e6, "flops": 1e12, "seconds": seconds, **costs}

    plan = {
        "preset": "tiny", "cluster": "local", "parameters": 1_300_000, "assumptions": ["half of peak"],
        "stages": [row("pretrain", 200.0), row("rlhf", 90.0)], "total": row("all", 290.0),
        "memory": [{"stage": "pretrain", "weights": 4e6, "total": 1.2e8, "capacity": 2.5e10, "fits": True}],
    }  # fmt: skip
    write_json(ws.dir / "plan.json", {"plan": plan, "presets": [{**plan, "cluster": "p5.48xlarge:1"}]})
    return Summary("The run should take 5 minutes on this machine.", [Figure("planned time", 0.08, "hours", better="neither")])


def _model(_: Any, ws: Workspace) -> Summary:
    write_json(ws.dir / "checks.json", {"parameters": 1_300_000, "logits_max_difference": 2.1e-6, "greedy_tokens_equal": True})
    figures = [
        Figure("largest logit difference from transformers", 2.1e-6, "", baseline=1e-4, better="lower"),
        Figure("loss on one batch after learning it", 0.9, "nats/token", before=7.6, better="lower"),
        Figure("parameters", 1_300_000, "", better="neither"),
    ]
    return Summary("1,300,000 parameters; logits equal transformers' to 2e-06.", figures, tokens=80_000)


def _curve(steps: int, start: float, end: float) -> list[float]:
    return [end + (start - end) * math.exp(-4 * i / steps) + 0.03 * math.sin(7.3 * i) for i in range(steps)]


def _metrics(ws: Workspace, columns: dict[str, dict[int, float]]) -> None:
    steps = sorted({step for values in columns.values() for step in values})
    lines = ["step," + ",".join(columns)]
    lines += [f"{step}," + ",".join(str(values.get(step, "")) for values in columns.values()) for step in steps]
    write_text(ws.dir / "metrics.csv", "\n".join(lines) + "\n")


def _pretrain(_: Any, ws: Workspace) -> Summary:
    loss = dict(enumerate(_curve(300, 7.6, 2.1)))
    valid = {step: 1.15 + 4 * math.exp(-step / 60) for step in range(0, 300, 50)}
    _metrics(ws, {"train/loss": loss, "valid/bits_per_byte": valid, "lr": {s: 0.003 * min(1, s / 30) for s in range(300)}})
    rows = [
        {"step": s, "prompt": p, "text": f"{p} the bucket at {s}. {HOSTILE}"}
        for s in (0, 150, 299)
        for p in ("Deletes", "# Create")
    ]
    write_jsonl(ws.dir / "samples.jsonl", rows)
    write_bytes(ws.dir / "model" / "model.safetensors", b"made-up weights of pretrain")
    key = Figure("held-out compression", 1.14, "bits per byte", 8.02, 1.4, n=31, better="lower")
    return Summary("1.140 bits per byte on services never seen; xz -9e needs 1.400.", [key], tokens=1_200_000, flops=9.4e12)


def _trained(name: str, key: Figure, headline: str, metrics: tuple[str, ...]) -> Callable[[Any, Workspace], Summary]:
    def body(_: Any, ws: Workspace) -> Summary:
        _metrics(ws, {m: {s: 0.2 + 0.1 * k + 0.6 * (s / 40) ** 0.5 for s in range(41)} for k, m in enumerate(metrics)})
        rows = [
            {"stage": name, "task": "held out", "id": i, "right": i % 3 != 0, "answer": f"answer {i} {HOSTILE}"}
            for i in range(30)
        ]
        write_jsonl(ws.dir / "rows.jsonl", rows)
        write_bytes(ws.dir / "model" / "model.safetensors", f"made-up weights of {name}".encode())
        return Summary(headline, [key], tokens=200_000)

    return body


def _reward(config: Any, ws: Workspace) -> Summary:
    key = Figure("held-out pairs right", 0.71, "share", None, 0.52, 0.66, 0.75, 400)
    found = _trained("reward", key, "The better answer is found in 71 %.", ("train/loss", "train/accuracy"))(config, ws)
    scored = {"kind": HOSTILE, "chosen_length": 20, "rejected_length": 30, "chosen": HOSTILE, "rejected": "no"}
    rows = [
        {"stage": "reward", "id": i, "margin": (i * 7) % 30 - 12, "right": float((i * 7) % 30 > 12), **scored} for i in range(30)
    ]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    write_jsonl(ws.dir / "garbage.jsonl", [{**rows[i], "kind": "meta", "right": float(i % 2)} for i in range(6)])
    found.figures += [
        Figure("accuracy where the longer answer was chosen", 0.64, "share", None, 0.5, 0.5, 0.7, 200),
        Figure("planted garbage that loses: meta", 0.5, "share", None, 0.5, 0.2, 0.8, 6),
    ]
    bins = [{"confidence": 0.55, "right": 0.6, "pairs": 20}, {"confidence": 0.75, "right": 0.7, "pairs": 10}]
    return dataclasses.replace(found, details={"reliability": bins})


def _constitutional(_: Any, ws: Workspace) -> Summary:
    titles = ("Warn before deletion", "Keep secrets", "Say what you are", "Do not invent")
    principles = {
        f"p{i}": {
            "title": title, "before": 0.8 - 0.1 * i, "after_supervised": 0.3, "after": 0.1 + 0.02 * i, "n": 60,
            "look_alike_before": 0.02, "look_alike_after": 0.02 + 0.03 * (i == 2),
        }
        for i, title in enumerate(titles)
    }  # fmt: skip
    write_jsonl(
        ws.dir / "rows.jsonl",
        [{"stage": "constitutional", "task": p, "id": i, "violates": False} for p in principles for i in range(8)],
    )
    key = Figure("violation rate", 0.13, "share", 0.65, None, 0.09, 0.18, 240, "lower")
    return Summary("Violations of four principles fell from 65 % to 13 %.", [key], details={"principles": principles})


def _redteam(_: Any, ws: Workspace) -> Summary:
    attacks = {
        name: {"split": split, "before": 0.9 - 0.1 * i, "after": 0.2 + 0.05 * i, "n": 40}
        for i, (name, split) in enumerate(
            (("direct", "seen"), ("role_play", "seen"), ("prefix", "heldout"), ("story", "heldout"))
        )
    }
    modes = [{"id": "m1", "size": 14, "attack": "role_play", "category": "credentials", "status": "fixed", "example": HOSTILE}]
    gate = {"promoted": True, "reasons": [], "attack_success": {"before": {"share": 0.7}, "after": {"share": 0.3}}}
    write_json(ws.dir / "modes.json", modes)
    write_json(ws.dir / "gate.json", gate)
    write_jsonl(
        ws.dir / "rows.jsonl", [{"stage": "redteam", "task": "direct", "id": i, "success": i % 4 == 0} for i in range(20)]
    )
    write_bytes(ws.dir / "model" / "model.safetensors", b"made-up weights of redteam")
    key = Figure("attack success, held out", 0.3, "share", 0.7, None, 0.22, 0.39, 120, "lower")
    return Summary(
        "Held-out attacks succeed in 30 % instead of 70 %.", [key], details={"attacks": attacks, "modes": modes, "gate": gate}
    )


def _evaluate(_: Any, ws: Workspace) -> Summary:
    stages = ("pretrain", "finetune", "rlhf", "constitutional", "redteam")
    results = {
        task: {
            s: {"value": v + 0.05 * i, "low": v + 0.05 * i - 0.08, "high": v + 0.05 * i + 0.08, "n": n}
            for i, s in enumerate(stages)
        }
        for task, v, n in (("arc_easy", 0.26, 100), ("sciq", 0.3, 100), ("aws_tool", 0.1, 40))
    }
    write_jsonl(
        ws.dir / "rows.jsonl",
        [{"stage": s, "task": "arc_easy", "id": i, "right": bool(i % 2)} for s in stages for i in range(10)],
    )
    key = Figure("tool calls right", 0.3, "share", 0.1, 0.0, 0.18, 0.45, 40)
    return Summary(
        "Tool calls are right in 30 % of 40 held-out requests, 10 % before post-training.", [key], details={"results": results}
    )


def _deploy(_: Any, ws: Workspace) -> Summary:
    for version in ("1f2e", "9a8b"):
        write_bytes(ws.dir / "store" / version / "model.safetensors", f"made-up weights {version}".encode())
    write_text(ws.dir / "store" / "current", "9a8b\n")
    return Summary(
        "Version 9a8b is served, 1f2e can be rolled back to.", [Figure("verified files", 2, "files", better="neither")]
    )


def _serve(_: Any, ws: Workspace) -> Summary:
    question = "What does CreateBucket of Amazon S3 do?"
    calls = [
        {"call": "converse", "asked": question, "answered": {"text": f"Creates a bucket. {HOSTILE}", "stopReason": "end_turn"}},
        {"call": "converse_stream", "asked": question, "answered": {"text": "Creates a new bucket."}, "output_tokens": 6},
        {
            "call": "tool",
            "asked": {"question": question, "tool": {}},
            "answered": {"calls": [{"Bucket": "b"}], "text": ""},
            "problem": "no",
        },
    ]
    write_json(ws.dir / "transcript.json", {"model": "tenet.assistant-v1:0", "calls": calls})
    return Summary("boto3 got a right answer in 6 of 6 calls.", [Figure("calls answered", 1.0, "share", n=6)])


_BODIES: dict[str, Callable[[Any, Workspace], Summary]] = {
    "corpus": _corpus,
    "plan": _plan,
    "model": _model,
    "pretrain": _pretrain,
    "finetune": _trained(
        "finetune",
        Figure("exact answers", 0.42, "share", 0.0, None, 0.35, 0.49, 200),
        "42 % of held-out answers are exact.",
        ("train/loss",),
    ),
    "dpo": _trained(
        "dpo",
        Figure("held-out pairs with the larger gain on the chosen answer", 0.66, "share", 0.5, 0.52, 0.61, 0.71, 400),
        "Moved towards the chosen answer in 66 %.",
        ("train/loss", "train/chosen_logratio", "train/rejected_logratio"),
    ),
    "reward": _reward,
    "rlhf": _trained(
        "rlhf",
        Figure("mean reward", 0.61, "", 0.44, None, 0.55, 0.67, 200),
        "Mean reward rose from 0.44 to 0.61.",
        ("reward/mean", "reward/verified", "kl"),
    ),
    "constitutional": _constitutional,
    "redteam": _redteam,
    "evaluate": _evaluate,
    "deploy": _deploy,
    "serve": _serve,
}
