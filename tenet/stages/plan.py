"""Step 2: what the whole run will cost, written down before it starts, so that it can be held against what it did
cost."""

from __future__ import annotations

from tenet.files import write_json, write_text
from tenet.planning.forecast import overview, plan, render, to_json
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.plan import PlanConfig
from tenet.units import long_time, money


def run(config: PlanConfig, ws: Workspace) -> Summary:
    """Plan this preset on its own cluster, and every preset on its own."""
    made = plan(ws.preset, config, ws.counts)
    ws.progress(1, 2, "planning every preset")
    ws.check()
    others = overview()
    write_json(ws.dir / "plan.json", {"plan": to_json(made), "presets": [to_json(other) for other in others]})
    write_text(ws.dir / "plan.txt", "\n".join(render(each) for each in (made, *others)))
    total, short_of = made.total, [m.parts.stage for m in made.memory if not m.fits]
    fits = f"; {', '.join(short_of)} do not fit into memory" if short_of else ""
    cost = f"{long_time(total.seconds)} and {money(total.dollars)}"
    return Summary(
        headline=f"{ws.preset.name} on {made.cluster}: {cost} planned for all training{fits}",
        figures=[
            Figure("planned time", round(total.seconds / 3600, 4), "hours", better="neither", note="pretraining to evaluation"),
            Figure("planned cost", round(total.dollars, 2), "dollars", better="neither"),
            Figure("parameters", made.parameters, "parameters", better="neither"),
            Figure("planned compute", total.flops, "FLOPs", better="neither"),
            Figure("planned electricity", round(total.kwh, 6), "kWh", better="neither"),
            Figure("planned serving", round(made.serving.tokens_per_second, 1), "tokens/s", better="neither"),
        ],
        details={"fits": not short_of, "assumptions": made.assumptions},
    )
