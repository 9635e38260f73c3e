"""From an executed notebook to the bytes that are kept: what varies is taken out, then it becomes one page that opens
from disk."""

from __future__ import annotations

from typing import Any

from tenet.report.data import step_of
from tenet.report.render.html import Html, page, tag


def normalise(notebook: Any, made_from: str) -> None:
    """Drop what differs between two executions of the same thing; keep parameters and the hash of what it was made
    from."""
    parameters = dict(notebook.metadata.get("papermill", {}).get("parameters", {}))
    notebook.metadata = {
        "kernelspec": notebook.metadata.get("kernelspec", {}),
        "language_info": {"name": "python"},
        "tenet": {"parameters": parameters, "made_from": made_from},
    }
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"c{number}"
        cell.metadata = {"tags": [t for t in cell.metadata.get("tags", []) if t]} if cell.metadata.get("tags") else {}
        if cell.cell_type != "code":
            continue
        if cell.get("execution_count"):  # the kernel counts on from one notebook to the next
            count += 1
            cell["execution_count"] = count
        # A stage's own log is bars and times; its result is read from its files below.
        cell["outputs"] = (
            [] if "stage" in cell.metadata.get("tags", []) else [kept for o in cell["outputs"] if (kept := _still(o))]
        )


def _still(output: Any) -> Any:
    """An output without live bars: widgets go, and of a line that was drawn again and again the last state stays."""
    if "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
        return None
    if output.output_type == "stream":
        output["text"] = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.text.split("\n"))
    if "execution_count" in output:
        output["execution_count"] = None
    return output


def say_failed(notebook: Any, why: str) -> None:
    """Put the reason first: who opens the page must not look for it."""
    from nbformat.v4 import new_code_cell, new_output

    said = tag("p", f"This report failed: {why}", cls="bad")
    notebook.cells.insert(0, new_code_cell(id="failed", outputs=[new_output("display_data", {"text/html": str(said)})]))


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
