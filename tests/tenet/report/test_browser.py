"""Every page of a run in a real browser: nothing complains, nothing is asked for, nothing is cut off, everything can be
read."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenet.pipeline.table import STAGES
from tenet.report import compare_page
from tests.tenet.report.browser import Browser, chromium

pytestmark = pytest.mark.skipif(chromium() is None, reason="chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(reported: Path, made: Path) -> list[Path]:
    compared = compare_page([reported, made.parent / "demo"], reported / "compare.html") if reported != made else reported
    return [reported / "index.html", reported / "card" / "index.html", compared, *sorted(reported.glob("*/r*.html"))]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_page_opens_without_a_complaint(browser: Browser, pages: list[Path], width: int, dark: bool) -> None:
    assert len([page for page in pages if page.name != "rows.html"]) == 3 + len(STAGES) < len(pages)
    for page in pages:
        seen = browser.visit(page, width, dark)
        assert seen.complaints == [] and [url for url in seen.asked if not url.startswith(("file:", "data:"))] == [], page
        assert len([url for url in seen.asked if url.startswith("file:")]) == 1, page
        assert seen.width <= width and seen.clipped == [] and seen.faint == [], (
            page,
            dataclasses.replace(seen, text="", png=b""),
        )
        assert len(seen.text) > 200


def test_a_hostile_answer_stays_text(browser: Browser, reported: Path) -> None:
    assert "<script src='https://evil.example/x.js'></script>" in browser.visit(reported / "serve" / "report.html").text


@pytest.mark.parametrize(
    ("markup", "told"),
    [
        ("<script>throw Error('x')</script>", "complaints"),
        ("<img src='https://evil.example/a.png'>", "complaints"),
        ("<div style='width: 3000px'>wide</div>", "clipped"),
        ("<p style='color: #bbbbbb'>faint</p>", "faint"),
    ],
)
def test_the_browser_checks_bite(browser: Browser, reported: Path, tmp_path: Path, markup: str, told: str) -> None:
    page = Path(shutil.copy(reported / "card" / "index.html", tmp_path / "page.html"))
    page.write_text(page.read_text(encoding="utf-8").replace("<main>", f"<main>{markup}"), encoding="utf-8")
    assert getattr(browser.visit(page), told)
