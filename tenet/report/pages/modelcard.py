"""`runs/NAME/card/README.md`: a Hugging Face model card of what the run serves, written from its files and from nothing
else.

It lies beside the store and not in it: a published version is the hash of its files, and a card that is made again with
every report would change it. Copy it into the folder that you upload.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tenet.report import rules
from tenet.report.data import Stage
from tenet.report.render.html import page, tag
from tenet.report.render.words import amount, change, energy, interval, number
from tenet.report.served import Served
from tenet.units import NOT_MEASURED, duration

#: Doubts of one stage that the card repeats; the report has all of them.
DOUBTS = 4


def model_card(model: Served) -> str:
    """The card, with the metadata block that huggingface.co reads."""
    from huggingface_hub import ModelCard

    parts = [
        f"---\n{_metadata(model).to_yaml()}\n---\n",
        f"# {model.name}\n",
        f"{_about(model)}\n",
        "## Use\n\n" + _use(model),
        "## Training\n\n" + _training(model),
        "## Data\n\n" + _data(model),
        "## Evaluation\n\n" + _evaluation(model),
        "## Safety\n\n" + _safety(model),
        "## What to doubt\n\n" + _doubts(model),
        "## Energy\n\n" + _energy(model),
        "## Files\n\n" + _files(model),
    ]
    return str(ModelCard("\n".join(parts)))


def as_page(card: str, name: str) -> str:
    """The card for a browser, in the style of the other pages; markup inside it stays text."""
    import mistune

    body = str(mistune.create_markdown(escape=True, plugins=["table"])(card.split("---\n", 2)[2]))
    box = '<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
    body = body.replace("<table>", box).replace("</table>", "</table></div>")
    top = tag(
        "p", tag("a", "← the run at a glance", href="../index.html"), " · ", tag("a", "README.md", href="README.md"), cls="soft"
    )
    return page(f"{name}: model card", f'{top}\n<div class="card">\n{body}</div>')


def _metadata(model: Served) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            "text-generation",
            task,
            task,
            "accuracy",
            cell["value"],
            dataset_split="test",
            metric_name=f"accuracy ({_spread(cell)})",
        )
        for task, cell in _results(model)
        if _finite(cell.get("value"))
    ]
    return ModelCardData(
        language="en",
        license="other",
        license_name="not-chosen",
        library_name="transformers",
        pipeline_tag="text-generation",
        model_name=model.name,
        tags=["tenet"],
        eval_results=results or None,
    )


def _about(model: Served) -> str:
    parameters = model.stages["plan"].json("plan.json") if "plan" in model.stages else None
    plan = (parameters or {}).get("plan") or {}
    size = f"{number(plan['parameters'])} parameters, preset `{plan['preset']}`" if plan.get("parameters") else "size unknown"
    version = f", version `{model.version}` of its store" if model.version else ", not deployed"
    about = str(plan.get("about") or "")
    said = f" {about[0].upper()}{about[1:].rstrip('.')}." if about else ""
    return f"A decoder in the Qwen3 shape ({size}); weights of the step `{model.chosen}`{version}.{said}"


def _use(model: Served) -> str:
    return (
        "Loads with `transformers.AutoModelForCausalLM.from_pretrained` and answers Amazon Bedrock's API with\n"
        f'`tenet ask --run runs/{model.name} "..."`. It knows what its data below are about and was measured as written below; whatever is not\n'
        "measured there is not claimed. No licence was chosen for the weights; the training text stands under those named below.\n"
    )


def _training(model: Served) -> str:
    rows = [
        (stage.name, stage.summary.get("headline") or "", number(stage.record["tokens"]), duration(stage.record.get("seconds")))
        for stage in model.made_by
    ]
    return _table(("step", "finding", "tokens", "time"), rows)


def _data(model: Served) -> str:
    sources = [
        (s.get("source"), number(s.get("documents")), number(s.get("bytes")), f"`{str(s.get('sha256', ''))[:16]}`")
        for s in model.card.get("sources", [])
    ]
    licences = sorted({str(entry["licence"]) for entry in model.card.get("licences", []) if entry.get("licence")})
    overlap = (model.card.get("heldout_overlap") or {}).get("value")
    said = [f"Licences of the text: {', '.join(licences) or NOT_MEASURED}."]
    said += [f"{amount(overlap, 'share')} of the held-out words stand in runs that training text has too."] if overlap else []
    return _table(("source", "documents", "bytes", "SHA-256"), sources) + "\n" + " ".join(said) + "\n"


def _evaluation(model: Served) -> str:
    rows = [(task, amount(cell.get("value"), "share"), _spread(cell), number(cell.get("n"))) for task, cell in _results(model)]
    first = model.stages["evaluate"].summary.get("headline", "") if "evaluate" in model.stages else ""
    return (f"{first}.\n\n" if first else "") + _table(("task", "value", "95 % interval", "rows"), rows)


def _results(model: Served) -> list[tuple[str, dict[str, Any]]]:
    """Task -> the cell of the served checkpoint."""
    evaluated = model.stages.get("evaluate")
    found: dict[str, dict[str, Any]] = (evaluated.summary.get("results") or {}) if evaluated else {}
    return [(task, by_stage[model.chosen]) for task, by_stage in found.items() if model.chosen in by_stage]


def _spread(cell: dict[str, Any]) -> str:
    if not (_finite(cell.get("low")) and _finite(cell.get("high"))):
        return "no interval"
    return f"{number(100 * cell['low'])} to {number(100 * cell['high'])} %"


def _safety(model: Served) -> str:
    rows = [
        (stage.name, f.name, change(f), interval(f), number(f.n))
        for stage in _of(model, "constitutional", "redteam")
        for f in stage.figures
    ]
    gate = (model.stages["redteam"].summary.get("gate") or {}) if "redteam" in model.stages else {}
    said = ""
    if gate.get("promoted") is False:
        said = f"\nThe gate kept the red team's fix back ({'; '.join(gate.get('reasons') or ['no reason given'])}), so it is not in these weights.\n"
    return _table(("step", "figure", "before → after", "95 % interval", "rows"), rows) + said


def _doubts(model: Served) -> str:
    lines = []
    for stage in model.stages.values():
        found = [doubt for doubt in rules.doubts(stage) if not doubt.startswith(rules.ENERGY)]
        lines += [f"- {stage.name}: {doubt}" for doubt in found[:DOUBTS]]
        lines += [f"- {stage.name}: {len(found) - DOUBTS} more in its report"] if len(found) > DOUBTS else []
    return "\n".join(lines or ["No rule found anything."]) + "\n"


def _energy(model: Served) -> str:
    total = sum(stage.record.get("joules") or 0.0 for stage in model.stages.values())
    origins = sorted({str(stage.record.get("joules_are", "origin unknown")) for stage in model.stages.values()})
    return f"{energy(total)} for all finished steps ({'; '.join(origins)}).\n"


def _files(model: Served) -> str:
    return _table(("file", "bytes", "SHA-256"), [(f["path"], number(f["bytes"]), f"`{f['sha256']}`") for f in model.weights])


def _of(model: Served, *names: str) -> list[Stage]:
    return [model.stages[name] for name in names if name in model.stages]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; no rows are said."""
    body = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    if not body:
        return "Nothing is written down.\n"
    return "\n".join(["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns), *body]) + "\n"


def _cell(value: Any) -> str:
    """One line; what a model wrote must neither end a table nor become markup."""
    words = " ".join(str(NOT_MEASURED if value is None else value).split())
    return words.replace("|", "\\|").replace("<", "&lt;")
