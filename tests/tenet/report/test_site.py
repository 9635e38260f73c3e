"""The index of a run, and the same in the terminal."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tenet.errors import ConfigError
from tenet.files import read_json, write_json
from tenet.report import index, lineage_text, show
from tenet.report.data import STAGES
from tests.tenet.report.pages import Tags, assert_opens_from_disk


def test_the_index_links_only_what_is_there(reported: Path) -> None:
    page = (reported / "index.html").read_text(encoding="utf-8")
    assert_opens_from_disk(page)
    local = [link for link in Tags(page).values("href") if not link.startswith(("data:", "#"))]
    assert len(local) > 40 and all((reported / link).exists() for link in local)
    assert all(f"{name}/report.html" in local for name in STAGES)


def test_the_index_shows_the_run_at_a_glance(reported: Path) -> None:
    page = (reported / "index.html").read_text(encoding="utf-8")
    for part in (
        "13 of 13",
        "tiny",
        "Creates a new bucket.",
        "8.02 → 1.14 bits per byte",
        "every hash holds",
        "Apache-2.0",
        "0.915",
    ):
        assert part in page, part


def test_the_index_names_what_is_unfinished_or_doctored(run: Path) -> None:
    shutil.rmtree(run / "serve")
    (run / "deploy").rename(run / "deploy.partial")
    (run / "deploy.partial" / "run.json").unlink()
    write_json(run / "deploy.partial" / "started.json", {"fingerprint": "x", "attempts": 2})
    shutil.copy(run / "reward" / "summary.json", run / "evaluate" / "summary.json")
    page = index(run).read_text(encoding="utf-8")
    for part in (
        "nothing has answered yet",
        "unfinished: run the same command to go on",
        "&#x27;reward&#x27;, not &#x27;evaluate&#x27;",
        "not started",
    ):
        assert part in page, part


def test_a_folder_killed_before_its_last_rename_is_no_result(run: Path) -> None:
    (run / "serve").rename(run / "serve.partial")
    assert "12 of 13" in index(run).read_text(encoding="utf-8")
    assert "7 min 26 s in all" in printed(run)


def test_the_index_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such run"):
        index(tmp_path / "nothing")


def printed(run: Path) -> str:
    from rich.console import Console

    console = Console(width=180, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(show(run))
    return console.export_text()


def test_show_prints_a_row_for_every_stage(run: Path) -> None:
    shutil.rmtree(run / "serve")
    text = printed(run)
    assert all(name in text for name in STAGES)
    assert "8.02 → 1.14 bits per byte" in text and "3 min 03 s" in text and "not started" in text and "9 to 18 %" in text


def test_lineage_reaches_documents_and_licences(run: Path) -> None:
    text = lineage_text(run, "serve")
    weights = next(o["sha256"] for o in read_json(run / "redteam" / "run.json")["outputs"] if o["path"].endswith(".safetensors"))
    for part in (weights[:16], "botocore 1.44", "Apache-2.0", "PSF-2.0", "ab" * 32):
        assert part in text, part
    assert "BROKEN" not in text
    record = read_json(run / "corpus" / "run.json")
    write_json(run / "corpus" / "run.json", {**record, "fingerprint": "another"})
    assert "corpus   BROKEN" in lineage_text(run, "serve")


def test_show_needs_neither_matplotlib_nor_papermill(made: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tenet.report import lineage_text, show; "
        f"show(Path({str(made)!r})); lineage_text(Path({str(made)!r})); "
        "print([m for m in ('matplotlib', 'papermill', 'nbconvert', 'torch', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    import tenet.report as package

    assert all(callable(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no plot"):
        _ = package.plot


def test_the_index_holds_time_energy_and_dollars_against_the_plan(run: Path) -> None:
    plan = read_json(run / "plan" / "plan.json")
    plan["plan"]["stages"][0]["dollars"] = 400.0  # pretraining: planned 200 s, took 183 s
    write_json(run / "plan" / "plan.json", plan)
    page = index(run).read_text(encoding="utf-8")
    row = page[page.index('<th scope="row">pretrain</th>') :].split("</tr>")[0]
    for part in ("3 min 20 s", "3 min 03 s", "0.915", "400.00", "366.00"):
        assert part in row, part
    total = page[page.index('<th scope="row">all of these</th>') :].split("</tr>")[0]
    assert "4 min 50 s" in total and "4 min 39 s" in total and "366.00" in total


def test_a_judged_row_leads_to_the_whole_row(reported: Path) -> None:
    """Every link of every report to a row ends at that row, which is there uncut."""
    followed = 0
    for report in sorted(reported.glob("*/report.html")):
        links = re.findall(r'<a href="rows\.html#(row-(\d+))">([^<]*)</a>', report.read_text())
        rows = (report.parent / "rows.jsonl").read_text().splitlines() if links else []
        page = html.unescape((report.parent / "rows.html").read_text()) if links else ""
        for anchor, position, name in links:
            row = json.loads(rows[int(position) - 1])
            assert html.unescape(name) == str(row.get("id", position))
            section = page.split(f'<section id="{anchor}">')[1].split("</section>")[0]
            assert all(value in section for value in row.values() if isinstance(value, str))
            followed += 1
    assert followed > 10
