"""From an executed notebook to the bytes that are kept: what varies is taken out, then it becomes one page that opens from disk."""

from __future__ import annotations

from typing import Any

from tenet.report.data import step_of
from tenet.report.html import Html, page, tag


def normalise(notebook: Any, made_from: str) -> None:
    """Drop what differs between two executions of the same thing; keep parameters and the hash of what it was made from."""
    parameters = dict(notebook.metadata.get("papermill", {}).get("parameters", {}))
    notebook.metadata = {
        "kernelspec": notebook.metadata.get("kernelspec", {}),
        "language_info": {"name": "python"},
        "tenet": {"parameters": parameters, "made_from": made_from},
    }
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"c{number}"
        cell.metadata = {"tags": [t for t in cell.metadata.get("tags", []) if t]} if cell.metadata.get("tags") else {}
        if "stage" in cell.metadata.get("tags", []):
            cell["outputs"] = []  # a stage's own log: bars and times; its result is read from its files below


def render(notebook: Any, stage: str, export: Any, index: str = "../index.html") -> str:
    """The notebook as one HTML page without code and without remote references."""
    body, _ = export.from_notebook_node(notebook)
    step, _, title, _ = step_of(stage)
    top = tag("p", tag("a", "← the run at a glance", href=index), cls="soft") if index else Html("")
    return page(f"{step} {title}: report", f"{top}\n{body}")


def exporter() -> Any:
    """One nbconvert exporter for all notebooks: building it costs more than using it."""
    from nbconvert import HTMLExporter

    return HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
