"""Which blocks of a page are its content.

Furniture by name and lists of links go first. Of what is left, the smallest element that holds most of the running text
is the content: a rule without a word of any site's own, so that it holds for articles, manuals and forums alike (the
idea of scoring text by its links is that of Kohlschütter et al., "Boilerplate Detection using Shallow Text Features",
WSDM 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

from tenet.corpus.readers.web.blocks import Block, Container, Page
from tenet.corpus.readers.web.boilerplate import is_filler

#: A block with a larger share of its characters in links is a menu, unless it is as long as a paragraph.
MOST_LINKS = 0.5
#: A line before the main heading that is shorter than this is a path, a section or a date.
RUNNING = 60
#: Share of the running text that an element must hold for the content to be looked for inside it.
MOST_OF_IT = 0.8
#: Below this share of the page's running text, what the names call furniture is the content after all.
LEAST_KEPT = 0.25
#: ... unless so many characters are left (a third of them, with a main heading): a short article under many comments.
ENOUGH = 250
#: An element with a larger share of its characters in links shows other pages.
MOST_LINKED = 0.4
#: Characters of a page on which one section may hold most without being the whole.
FEW = 1_000
#: Characters of one paragraph that make the element beside the longest one content too (an answer below a question).
PARAGRAPH = 400
#: These are parts of a text: the content is never looked for inside one alone.
_WHOLE = frozenset(
    ["p", "li", "pre", "tr", "table", "tbody", "blockquote", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6"]
) | {"td"}
#: A run of short blocks, most of them links, from this many on, is a menu without a name.
MENU = 3


def content(page: Page) -> list[Block]:
    """The blocks of the content, in the order of the page.

    A page whose names say that nearly all of it is furniture is judged by its text alone; one without running text (an
    index, a form) keeps every block that is no list of links, and where that is nothing, all.
    """
    whole = sum(_weight(block) for block in page.blocks)
    for careful in (True, False):
        kept = [number for number, block in enumerate(page.blocks) if not (careful and block.furniture)]
        running = {number: _weight(page.blocks[number]) for number in kept}
        headed = any(page.blocks[number].mark == "# " for number in kept)
        if kept and sum(running.values()) >= min(LEAST_KEPT * whole, ENOUGH / 3 if headed else ENOUGH):
            break
    lists = _lists_of_links(page, kept, sum(running.values()))
    running = {number: weight for number, weight in running.items() if number not in lists}
    headings = [number for number in kept if page.blocks[number].kind == "h" and number not in lists]
    first, end = _smallest(page.containers, running, len(page.blocks), headings)
    inside = [number for number in kept if first <= number < end and number not in lists]
    menus = _menus(page.blocks, inside)
    found = _from_the_top([page.blocks[n] for n in inside if n not in menus and not is_filler(page.blocks[n].text)])
    return found or [page.blocks[number] for number in kept] or page.blocks


def _weight(block: Block) -> int:
    """Characters of running text: those of a block outside its links; half of code and of tables, none of a menu."""
    own = len(block.text) - block.links
    if block.kind in ("pre", "row"):
        return own // 2
    return own if block.links <= MOST_LINKS * len(block.text) else 0


def _smallest(containers: Sequence[Container], running: dict[int, int], blocks: int, headings: Sequence[int]) -> tuple[int, int]:
    """First and last block (exclusive) of the innermost element that holds most of the running text; of a page of a few
    sentences, with the sections beside the one that is longest."""
    sums = [0] * (blocks + 1)
    for number in range(blocks):
        sums[number + 1] = sums[number] + running.get(number, 0)
    total, best = sums[blocks], (0, blocks)
    if not total:
        return best
    long = [number for number, weight in running.items() if weight >= PARAGRAPH]
    below: dict[int, list[int]] = {}
    for number, one in enumerate(containers):
        below.setdefault(one.above, []).append(number)
    place, held = -1, total
    while True:
        inside = [(sums[containers[n].end] - sums[containers[n].first], n) for n in below.get(place, [])]
        most = max(inside, default=(0, -1))
        if most[0] < MOST_OF_IT * held or most[0] < MOST_OF_IT * MOST_OF_IT * total:
            return best
        if containers[most[1]].tag in _WHOLE:
            return best
        inner = containers[most[1]]
        if held < FEW and any(_between(number, best, inner) for number in headings):
            return best
        if any(_between(number, best, inner) for number in long):
            return best
        place, held = most[1], most[0]
        best = (containers[place].first, containers[place].end)


def _between(number: int, outer: tuple[int, int], inner: Container) -> bool:
    """Whether a block is in the one and not in the other."""
    return outer[0] <= number < inner.first or inner.end <= number < outer[1]


def _lists_of_links(page: Page, kept: Sequence[int], running: int) -> set[int]:
    """Blocks of elements whose text is mostly links (teasers of other pages), unless the element holds much of what
    there is to read."""
    length, links, weight = ([0] * (len(page.blocks) + 1) for _ in range(3))
    there = set(kept)
    for number, block in enumerate(page.blocks):
        on = number in there
        length[number + 1] = length[number] + on * len(block.text)
        links[number + 1] = links[number] + on * block.links
        weight[number + 1] = weight[number] + on * _weight(block)
    found: set[int] = set()
    for one in page.containers:
        if one.end - one.first < MENU:
            continue
        text, linked, read = (counts[one.end] - counts[one.first] for counts in (length, links, weight))
        if text and linked > MOST_LINKED * text and read < LEAST_KEPT * running:
            found.update(range(one.first, one.end))
    return found


def _menus(blocks: Sequence[Block], inside: Sequence[int]) -> set[int]:
    """Runs of short blocks that are links: nothing of the author's."""
    found: set[int] = set()
    run: list[int] = []
    for number in [*inside, -1]:
        block = blocks[number] if number >= 0 else None
        if block is not None and block.links > MOST_LINKS * len(block.text):
            run.append(number)
            continue
        if len(run) >= MENU:
            found.update(run)
        run = []
    return found


def _from_the_top(blocks: list[Block]) -> list[Block]:
    """Without the short lines (path, section, date) before the main heading, and without headings of nothing."""
    top = next((n for n, block in enumerate(blocks[:12]) if block.kind == "h" and len(block.mark) <= 3), 0)
    if all(len(block.text) < RUNNING and block.kind != "pre" for block in blocks[:top]):
        blocks = blocks[top:]
    return _without_bare_headings(blocks)


def _without_bare_headings(blocks: list[Block]) -> list[Block]:
    """Headings that have lost what stood below them go: one before another of its level or a higher one, or at the
    end."""
    found: list[Block] = []
    for block in reversed(blocks):
        after = found[-1] if found else None
        bare = after is None or (after.kind == "h" and len(after.mark) <= len(block.mark))
        if block.kind == "h" and bare and len(blocks) > 1 and len(block.mark) > 2:
            continue
        found.append(block)
    return found[::-1]
