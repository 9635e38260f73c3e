"""Reports: what a run found, for people. Cells of the notebooks, their execution, the index page, the terminal's table.

    from tenet.report import report, index, compare_page, show          # the command line
    from tenet.report import load, headline, went_in, curves, doubts    # a notebook

Names are looked up on first use: a kernel that draws needs no papermill, and `tenet show` needs no matplotlib.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "pages.cells": ("went_in", "curves", "table", "samples", "judged", "doubts"),
    "pages.compare": ("compare_page", "compare_table"),
    "data": ("load",),
    "pages.finding": ("headline",),
    "execute.notebooks": ("report",),
    "pages.site": ("index",),
    "pages.steps": (
        "calibration",
        "comparison",
        "differences",
        "extremes",
        "filters",
        "plan_tables",
        "rests_on",
        "results",
        "versions",
    ),
    "render.tables": ("facts",),
    "pages.terminal": ("show", "planned", "lineage_text"),
    "pages.transcript": ("transcript",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"tenet.report has no {name}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"tenet.report.{_MODULE_OF[name]}"), name)
