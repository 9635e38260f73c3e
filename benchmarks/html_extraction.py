"""How much of a page's text is kept, and how much of what stands around it: F1 and speed of the project's extraction beside
resiliparse, trafilatura and BeautifulSoup.

    python benchmarks/html_extraction.py                                  # 240 pages made of known text
    python benchmarks/html_extraction.py --texts FOLDER --pages BENCHMARK # and a public benchmark's pages

The pages are made of known text (books, else the reference of Python's language) in six designs, with menus, teasers,
cookie banners, comments and footers whose words come from other texts; tables, lists, programs and formulas are part of
the content. The rules were written with the first three designs and half of the public pages in view; the other three
designs ("kept") were made for this table alone.

`--pages` is a checkout of scrapinghub/article-extraction-benchmark (`html/*.html.gz`, `ground-truth.json`): pages whose
name begins with 0 to 7 were looked at, 8 to f were not, but for one correction (two pages with more comments than text).

Score: 4-grams of words as multisets; precision and recall are means over pages, F1 is theirs (as that benchmark has it).
Speed: MB of HTML for a second of CPU time on one core.
"""

from __future__ import annotations

import argparse
import gzip
import html
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.web.page import page_text
from tenet.corpus.sources import read
from tenet.settings.corpus import SourceConfig

_WORD = re.compile(r"\w+")
FORMULAS = (
    ("E = m c^2", "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"),
    ("\\frac{a}{b + 1}", "<mfrac><mi>a</mi><mrow><mi>b</mi><mo>+</mo><mn>1</mn></mrow></mfrac>"),
    ("\\sum_{i=1}^{n} x_i", "<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><msub><mi>x</mi><mi>i</mi></msub>"),
)
MENU = (
    "Home",
    "News",
    "Products",
    "Download",
    "Support",
    "Contact",
    "About",
    "Blog",
    "Forum",
    "Shop",
    "Careers",
    "Press",
    "Events",
    "Help",
)


@dataclass
class Page:
    """A page and its true text."""

    name: str
    html: str
    truth: str


@dataclass
class Texts:
    """Paragraphs to make pages of; what stands around the content takes its words from another half."""

    inside: list[str]
    around: list[str]
    code: list[str]
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def body(self) -> tuple[str, str, str]:
        """Title, HTML and true text of one article or manual page."""
        pick, parts, truth = self.chance, [], []
        title = " ".join(_WORD.findall(pick.choice(self.inside))[:6])
        for number in range(pick.randint(1, 5)):
            if number:
                heading = " ".join(_WORD.findall(pick.choice(self.inside))[:4])
                parts.append(f"<h2>{html.escape(heading)}</h2>")
                truth.append(heading)
            for _ in range(pick.randint(1, 4)):
                paragraph = pick.choice(self.inside)
                parts.append(f"<p>{self.inline(paragraph)}</p>")
                truth.append(paragraph)
            made = pick.choice((self.listed, self.table, self.program, self.formula, None, None))
            if made is not None:
                shown, said = made()
                parts.append(shown)
                truth.append(said)
        return title, "\n".join(parts), "\n".join([title, *truth])

    def inline(self, paragraph: str) -> str:
        """A paragraph with a link, a strong word and a break of line here and there."""
        words = html.escape(paragraph, quote=False).split(" ")
        for _ in range(self.chance.randint(0, 2)):
            place = self.chance.randrange(len(words))
            tag = self.chance.choice(("a href='/x'", "b", "em", "code"))
            words[place] = f"<{tag}>{words[place]}</{tag.split()[0]}>"
        return " ".join(words)

    def listed(self) -> tuple[str, str]:
        items = [" ".join(self.chance.choice(self.inside).split()[:12]) for _ in range(self.chance.randint(3, 6))]
        tag = self.chance.choice(("ul", "ol"))
        return f"<{tag}>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</{tag}>", "\n".join(items)

    def table(self) -> tuple[str, str]:
        rows: list[list[str]] = [
            [self.word(), str(self.chance.randint(1, 999)), self.word()] for _ in range(self.chance.randint(3, 8))
        ]
        shown = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table class='data'>{shown}</table>", "\n".join(" | ".join(row) for row in rows)

    def program(self) -> tuple[str, str]:
        code = self.chance.choice(self.code)
        return f"<div class='highlight'><pre>{html.escape(code)}</pre></div>", code

    def formula(self) -> tuple[str, str]:
        tex, mathml = self.chance.choice(FORMULAS)
        note = f"<annotation encoding='application/x-tex'>{tex}</annotation>"
        return f"<p>Here <math><semantics><mrow>{mathml}</mrow>{note}</semantics></math> holds.</p>", f"Here ${tex}$ holds."

    def word(self) -> str:
        return self.chance.choice(_WORD.findall(self.chance.choice(self.inside)) or ["word"])

    def menu(self, count: int, tag: str = "li") -> str:
        return "".join(f"<{tag}><a href='/{word}'>{word}</a></{tag}>" for word in self.chance.sample(MENU, count))

    def teaser(self, words: int = 25) -> str:
        return html.escape(" ".join(self.chance.choice(self.around).split()[:words]))

    def comments(self, count: int) -> list[str]:
        return [self.teaser(60) for _ in range(count)]


# --- designs ----------------------------------------------------------------------------------------------------------


def _blog(t: Texts, title: str, body: str) -> str:
    comments = "".join(f"<li class='comment'><cite>Guest {n}</cite><p>{c}</p></li>" for n, c in enumerate(t.comments(4)))
    related = "".join(f"<div class='card'><h4><a href='#'>{t.teaser(7)}</a></h4><p>{t.teaser()}</p></div>" for _ in range(3))
    return f"""<!DOCTYPE html><html><head><title>{title} - My Blog</title>
<script>var a = "<p>{t.teaser()}</p>";</script></head><body class="has-sidebar">
<div class="cookie-notice"><p>{t.teaser(30)}</p><button>Accept</button></div>
<header class="site-header"><a href="/">My Blog</a><nav class="main-navigation"><ul>{t.menu(6)}</ul></nav></header>
<main><article class="post"><h1 class="entry-title">{title}</h1><div class="entry-meta">By <a href="/me">Me</a> on 3 May</div>
<div class="entry-content">{body}</div><div class="share-buttons"><a>Tweet</a> <a>Share</a></div></article>
<section id="comments" class="comments-area"><h2>4 comments</h2><ol>{comments}</ol></section></main>
<aside class="sidebar"><h3>Related</h3>{related}</aside><footer><p>Copyright 2024. All rights reserved.</p>
<ul>{t.menu(4)}</ul></footer></body></html>"""


def _manual(t: Texts, title: str, body: str) -> str:
    return f"""<!DOCTYPE html><html><head><title>{title} &#8212; Manual 3.1</title></head><body>
<div class="related" role="navigation"><h3>Navigation</h3><ul>{t.menu(5)}</ul></div>
<div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main"><section id="x">
<h1>{title}<a class="headerlink" href="#x">¶</a></h1>{body.replace("</h2>", '<a class="headerlink" href="#y">¶</a></h2>')}
</section></div></div></div><div class="sphinxsidebar"><div class="sphinxsidebarwrapper"><h3>Table of Contents</h3>
<ul>{t.menu(8)}</ul>
<h4>Previous topic</h4><p><a href="#">{t.teaser(5)}</a></p></div></div></div>
<div class="footer">&#169; Copyright 2001-2024, The Authors. Last updated on May 3.</div></body></html>"""


def _news(t: Texts, title: str, body: str) -> str:
    cut = body.split("</p>", 1)
    entries = [f"<li><a href='#'><h3>{t.teaser(9)}</h3><p>{t.teaser(20)}</p></a></li>" for _ in range(8)]
    more = "".join(entries[2:])
    return f"""<html><head><title>{title} | The Paper</title></head><body><div id="topbar"><ul>{t.menu(10)}</ul></div>
<div class="breadcrumbs"><a>Home</a> &gt; <a>World</a></div><div class="layout"><div class="story"><h1>{title}</h1>
<p class="byline">By A. Writer, 10:42 GMT</p><div class="story-body">{cut[0]}</p><div class="advert"><p>Advertisement</p></div>
<div class="related-links"><ul>{"".join(entries[:2])}</ul></div>{cut[1] if len(cut) > 1 else ""}</div></div>
<div class="rail"><h2>Most read</h2><ol>{more}</ol></div></div><div class="newsletter"><h3>Sign up</h3>
<p>{t.teaser(18)}</p></div>
<div id="footer"><ul>{t.menu(9)}</ul><p>{t.teaser(35)}</p></div></body></html>"""


def _tables(t: Texts, title: str, body: str) -> str:
    """A page of the nineties: the layout is a table, nothing has a name."""
    return f"""<html><head><title>{title}</title></head><body bgcolor="#ffffff"><table width="100%"><tr><td colspan="2">
<font size="5">My Homepage</font></td></tr><tr><td width="150" valign="top">{t.menu(9, "div")}</td><td valign="top">
<h1>{title}</h1>{body}</td></tr><tr><td colspan="2"><hr><center>{t.menu(5, "span")}</center></td></tr></table></body></html>"""


def _hashed(t: Texts, title: str, body: str) -> str:
    """A page whose names are made by a program and say nothing."""
    cards = "".join(
        f"<div class='sc-a1'><a class='css-9z' href='#'><div class='css-k2'>{t.teaser(8)}</div><div class='css-k3'>{t.teaser(14)}</div></a></div>"
        for _ in range(5)
    )
    body = body.replace("<p>", "<div class='css-p1'>").replace("</p>", "</div>")
    return f"""<!doctype html><html><head><title>{title}</title></head><body><div id="__next"><div class="css-1q">
<div class="css-2w">
{t.menu(8, "div")}</div></div><div class="css-3e"><div class="css-4r"><h1 class="css-h1">{title}</h1><div class="css-5t">{body}</div></div>
<div class="css-6y">{cards}</div></div><div class="css-7u"><div class="css-8i">{t.menu(10, "div")}</div>
<div>{t.teaser(12)}</div></div></div></body></html>"""


def _forum(t: Texts, title: str, body: str) -> str:
    """A question with answers: the answers are content too, what users say of themselves is not."""
    user = "<div class='user-info'><a href='/u'>somebody</a> <span class='reputation'>1,204</span> <time>May 3</time></div>"
    return f"""<!DOCTYPE html><html><head><title>{title} - Answers</title></head><body><header><form><input name="q">
</form><nav>{t.menu(5, "a")}</nav></header>
<div class="container"><div id="left-menu">{t.menu(7, "div")}</div><div id="content"><div id="question-header">
<h1>{title}</h1></div>
<div class="question"><div class="vote-cell"><button>▲</button><span>12</span></div>
<div class="post-cell">{body}</div>{user}</div>
<div class="answer"><div class="vote-cell"><span>3</span></div><div class="post-cell">%ANSWER%</div>{user}</div></div>
<div id="right"><h4>Hot questions</h4><ul>{"".join(f"<li><a href='#'>{t.teaser(9)}</a></li>" for _ in range(8))}</ul>
</div></div>
<footer><div>{t.menu(13, "a")}</div><p>site design; user contributions under a licence</p></footer></body></html>"""


LOOKED_AT: dict[str, Callable[[Texts, str, str], str]] = {"blog": _blog, "manual": _manual, "news": _news}
KEPT: dict[str, Callable[[Texts, str, str], str]] = {"layout by tables": _tables, "hashed names": _hashed, "forum": _forum}


def made_pages(texts: Texts, designs: dict[str, Callable[[Texts, str, str], str]], count: int) -> Iterator[Page]:
    """`count` pages of each design."""
    for name, design in designs.items():
        for number in range(count):
            title, body, truth = texts.body()
            page = design(texts, html.escape(title), body)
            if "%ANSWER%" in page:
                answer = texts.chance.choice(texts.inside)
                page, truth = page.replace("%ANSWER%", f"<p>{texts.inline(answer)}</p>"), f"{truth}\n{answer}"
            yield Page(f"{name} {number}", page, truth)


def load_texts(folder: str, most: int = 20_000) -> Texts:
    """At most `most` paragraphs of a folder, else of the reference of Python's language."""
    from pydoc_data.topics import topics

    there = folder and Path(folder).exists()
    found: list[str] = []
    for text in (item["text"] for item in read(SourceConfig("folder", name=folder))) if there else topics.values():
        lines = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
        found += [line for line in lines if 80 < len(line) < 1_500 and line[0].isalpha()]
        if len(found) > most:
            break
    random.Random(5).shuffle(found)
    module = Path(argparse.__file__).read_text(encoding="utf-8").split("\n\n")
    code = [part.rstrip() for part in module if 100 < len(part) < 900]
    return Texts(found[::2], found[1::2], code)


def public_pages(folder: Path) -> Iterator[Page]:
    """Pages of scrapinghub/article-extraction-benchmark."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    for name, entry in sorted(truth.items()):
        yield Page(name, gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()).decode(), entry["articleBody"])


# --- extractors -------------------------------------------------------------------------------------------------------


def _own(text: str) -> str:
    return page_text(text, title=False)


def _soup(text: str) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for tag in soup(["script", "style", "template", "noscript", "head", "svg", "button"]):
        tag.decompose()
    return soup.get_text("\n")


def extractors() -> dict[str, Callable[[str], str]]:
    """Those that are installed."""
    found: dict[str, Callable[[str], str]] = {"Tenet": _own, "BeautifulSoup, all text": _soup}
    try:
        from resiliparse.extract.html2text import extract_plain_text

        found["resiliparse main_content"] = lambda text: str(
            extract_plain_text(text, main_content=True, alt_texts=False, comments=False)
        )
        found["resiliparse, all text"] = lambda text: str(extract_plain_text(text, alt_texts=False))
    except ImportError:
        print("resiliparse is not installed: left out")
    try:
        import trafilatura

        found["trafilatura"] = lambda text: trafilatura.extract(text, include_comments=False) or ""
        found["trafilatura, precision"] = lambda text: (
            trafilatura.extract(text, include_comments=False, favor_precision=True) or ""
        )
    except ImportError:
        print("trafilatura is not installed: left out")
    return found


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = _WORD.findall(text)
    return Counter(zip(*(words[n:] for n in range(4)), strict=False)) if len(words) >= 4 else Counter([tuple(words)])


def score(extract: Callable[[str], str], pages: Sequence[Page]) -> tuple[float, float, float, float]:
    """F1, precision, recall, MB of HTML a CPU second."""
    precision = recall = spent = 0.0
    for page in pages:
        begun = time.process_time()
        try:
            found = extract(page.html)
        except NotRead:
            found = ""
        spent += time.process_time() - begun
        true, seen = _grams(page.truth), _grams(found)
        hit = sum((true & seen).values())
        precision += hit / max(sum(seen.values()), 1)
        recall += hit / max(sum(true.values()), 1)
    p, r = precision / len(pages), recall / len(pages)
    size = sum(len(page.html.encode()) for page in pages) / 1e6
    return 2 * p * r / max(p + r, 1e-9), p, r, size / max(spent, 1e-9)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", default="../shared/data/gutenberg", help="folder of known text")
    parser.add_argument("--pages", type=Path, help="checkout of article-extraction-benchmark")
    parser.add_argument("--count", type=int, default=40, help="pages of each design")
    options = parser.parse_args()
    texts = load_texts(options.texts)
    sets = {
        "known text, designs looked at": list(made_pages(texts, LOOKED_AT, options.count)),
        "known text, designs kept": list(made_pages(texts, KEPT, options.count)),
    }
    if options.pages:
        pages = list(public_pages(options.pages))
        sets["public pages looked at"] = [page for page in pages if page.name[0] < "8"]
        sets["public pages kept"] = [page for page in pages if page.name[0] >= "8"]
    for name, pages in sets.items():
        print(f"\n{name}: {len(pages)} pages, {sum(len(page.html) for page in pages) / 1e6:.1f} MB")
        print(f"{'':26} {'F1':>6} {'prec.':>6} {'recall':>6} {'MB/s':>6}")
        for label, extract in extractors().items():
            extract(pages[0].html)  # imports are not speed
            f1, p, r, speed = score(extract, pages)
            print(f"{label:26} {f1:6.3f} {p:6.3f} {r:6.3f} {speed:6.1f}")
    print("\nTenet, by design")
    for designs in (LOOKED_AT, KEPT):
        for name, design in designs.items():
            f1, p, r, _ = score(_own, list(made_pages(texts, {name: design}, options.count)))
            print(f"{name:26} {f1:6.3f} {p:6.3f} {r:6.3f}")


if __name__ == "__main__":
    main()
