"""Books, papers, programs, tables and archives: what comes out of each, and by which reason what does not is named."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.corpus.readers import deadline
from tenet.corpus.readers.decoding import NotRead, decode_page
from tenet.corpus.readers.formats.articles import read_article
from tenet.corpus.readers.formats.docx import docx_text
from tenet.corpus.readers.formats.epub import read_epub
from tenet.corpus.readers.formats.latex import latex_text
from tenet.corpus.readers.formats.licence_files import licence_of_page, licence_of_text
from tenet.corpus.readers.formats.pdf import paragraphs, pdf_text
from tests.tenet.corpus.test_readers import opened


def zipped(files: dict[str, str | bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


def pdf(*pages: str) -> bytes:
    """A PDF of one line of text a page line, Helvetica."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, page in enumerate(pages):
        shown = "".join(f"1 0 0 1 72 {720 - 14 * n} Tm ({line}) Tj " for n, line in enumerate(page.split("\n")) if line)
        stream = f"BT /F1 12 Tf {shown}ET" if shown else ""
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {5 + 2 * i} 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(stream)}>>\nstream\n{stream}\nendstream")
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF".encode()


# --- books and papers -------------------------------------------------------------------------------------------------

OPF = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>
<dc:rights>https://creativecommons.org/licenses/by-sa/4.0/</dc:rights></metadata><manifest>
<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="one%20a.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="gone.xhtml" media-type="application/xhtml+xml"/></manifest>
<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/></spine></package>"""
CONTAINER = '<container><rootfiles><rootfile full-path="in/book.opf"/></rootfiles></container>'
EPUB: dict[str, str | bytes] = {
    "META-INF/container.xml": CONTAINER,
    "in/book.opf": OPF,
    "in/nav.xhtml": "<html><body>Contents</body></html>",
    "in/one a.xhtml": "<html><head><title>t</title></head><body><h1>First</h1><p>It was m\u00f6rning.</p></body></html>",
    "in/two.xhtml": "<html><body><p>It was evening.</p></body></html>",
}


def test_a_book_in_the_order_of_its_spine() -> None:
    book = read_epub(zipped(EPUB))
    assert book.text == "# First\n\nIt was m\u00f6rning.\n\nIt was evening.\n"
    assert (book.licence, book.lost) == ("CC-BY-SA-4.0", ("in/gone.xhtml: is missing",))
    locked = '<encryption><CipherData><CipherReference URI="in/two.xhtml"/></CipherData></encryption>'
    bad: list[tuple[dict[str, str | bytes], str]] = [
        ({"a": "b"}, "no META-INF"),
        ({**EPUB, "META-INF/encryption.xml": locked}, "rights management"),
        ({"META-INF/container.xml": CONTAINER}, "not a whole EPUB"),
    ]
    for files, reason in bad:
        with pytest.raises(NotRead, match=reason):
            read_epub(zipped(files))
    with pytest.raises(NotRead, match="not an EPUB"):
        read_epub(b"PK\x03\x04 broken")


def test_pdf_has_paragraphs_and_no_running_heads() -> None:
    body = "On day {0} the baker rose at four and lit the oven, for the dough\nhad been left to rise over night in the cel-\nlar of the house.\n\nThen he slept {0}."
    text = pdf_text(
        pdf(*(f"The Bakery {i}\n{body.format(name)}\n{i}" for i, name in enumerate(("one", "two", "three", "four", "five"), 1)))
    )
    assert text.count("over night in the cellar of the house.") == 5 and "The Bakery" not in text
    assert text.startswith("On day one the baker") and text.endswith("Then he slept five.\n") and "\n\n" in text
    assert paragraphs(
        [["A line that is as long as the others are", "and ends here.", "Another begins and goes on up to the edge"]]
    ) == [
        "A line that is as long as the others are and ends here.",
        "Another begins and goes on up to the edge",
    ]
    for data, reason in ((pdf("", ""), "scanned PDF without a text layer"), (b"%PDF-1.4 x", "not a valid PDF")):
        with pytest.raises(NotRead, match=reason):
            pdf_text(data)


def test_word_documents() -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

    def p(text: str, style: str = "") -> str:
        return f'<w:p><w:pPr>{f"""<w:pStyle w:val="{style}"/>""" if style else ""}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'

    table = f"<w:tbl><w:tr><w:tc>{p('a')}</w:tc><w:tc>{p('b')}</w:tc></w:tr></w:tbl>"
    lost = "<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:r><w:t>new</w:t><w:br/><w:t>line</w:t></w:r></w:p>"
    body = p("Bread", "Title") + p("Dough", "Heading1") + p("one", "ListBullet") + p("two", "ListBullet") + table + lost
    main = f"<w:document {space}><w:body>{body}</w:body></w:document>"
    assert docx_text(zipped({"word/document.xml": main})) == "# Bread\n\n# Dough\n\n- one\n- two\n\na | b\n\nnew\nline\n"
    with pytest.raises(NotRead, match="not a Word document"):
        docx_text(zipped({"a": "b"}))


LATEX = r"""\documentclass{article} % a comment
\newcommand{\R}{\mathbb{R}} \newcommand{\pair}[2]{#1 and #2}
\title{On \emph{bread}}
\begin{document}\maketitle
\section{Dough}\label{s} Caf\'e na\"{\i}ve ``quoted''~\cite{a,b}: $x \in \R$, \pair{one}{two} \textbf{bold}, 5\%.
% gone
\begin{equation}\label{e} E = mc^2 \end{equation}
\begin{itemize}\item first \item second\end{itemize}
\begin{figure}\includegraphics{x.png}\caption{An oven.}\end{figure}
\begin{tabular}{l|r} a & b \\ \hline c & d \\ \end{tabular}
\begin{verbatim}
x = 1 % not a comment
\end{verbatim}
\begin{thebibliography}{9}\bibitem{a} Somebody\end{thebibliography}
\end{document} after"""


def test_latex_keeps_words_and_formulas() -> None:
    assert latex_text(LATEX).split("\n\n") == [
        "# On bread",
        "## Dough",
        "Café naïve “quoted”: $x \\in \\mathbb{R}$, one and two bold, 5%.",
        "$$E = mc^2$$",
        "- first\n- second",
        "An oven.",
        "a | b\nc | d",
        "x = 1 % not a comment\n",
    ]
    with pytest.raises(NotRead, match="LaTeX without a document"):
        latex_text(r"\documentclass{article}\usepackage{x}")
    with pytest.raises(NotRead, match="grow without end"):
        latex_text(
            r"\newcommand{\a}{" + r"\b" * 50 + r"}\newcommand{\b}{" + r"\c" * 50 + r"}\newcommand{\c}{" + "x" * 50 + r"}\a \a"
        )


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="\\{}$%&[]ab#1~ \n'\"^", max_size=80))
def test_no_latex_ends_in_a_traceback(text: str) -> None:
    try:
        assert isinstance(latex_text(text), str)
    except NotRead as error:
        assert str(error)


JATS = """<?xml version="1.0"?>
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink"><front>
<article-meta><article-id pub-id-type="doi">10.1/x</article-id><title-group><article-title>On <italic>waves</italic>
</article-title></title-group>
<permissions><license xlink:href="http://creativecommons.org/licenses/by/4.0/"><p>Free.</p></license></permissions>
<abstract><p>Short.</p></abstract></article-meta></front><body><sec><title>Sound</title><p>Energy
<inline-formula><mml:math><mml:mi>E</mml:mi><mml:mo>=</mml:mo><mml:msup><mml:mi>c</mml:mi><mml:mn>2</mml:mn></mml:msup>
</mml:math></inline-formula> holds.</p>
<sec><title>Deeper</title><p>More.</p></sec><table-wrap><table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td>
</tr></table></table-wrap></sec></body>
<back><ref-list><ref>Somebody 1999</ref></ref-list></back></article>"""
TEI = """<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Letters</title></titleStmt></fileDesc>
<profileDesc><abstract><p>Of a baker.</p></abstract></profileDesc></teiHeader><text><body><div><head>May</head><p>Dear
<formula notation="TeX">x^2</formula> friend.</p></div></body><back><listBibl><bibl>Book</bibl></listBibl></back>
</text></TEI>"""
CNXML = """<document xmlns="http://cnx.rice.edu/cnxml"><title>Motion</title><metadata>
<md:abstract xmlns:md="m">About motion.</md:abstract></metadata>
<content><section><title>Speed</title><para>It is <m:math xmlns:m="http://www.w3.org/1998/Math/MathML"><m:mfrac>
<m:mi>d</m:mi><m:mi>t</m:mi></m:mfrac></m:math>.</para></section></content></document>"""


def test_articles_by_their_root() -> None:
    jats, tei, cnxml = (read_article(text.encode()) for text in (JATS, TEI, CNXML))
    assert jats.text == ("# On waves\n\nShort.\n\n## Sound\n\nEnergy $E = c^{2}$ holds.\n\n### Deeper\n\nMore.\n\na | b\nc | d\n")
    assert (jats.kind, jats.licence, jats.url) == ("JATS", "CC-BY-4.0", "https://doi.org/10.1/x")
    assert tei.text == "# Letters\n\nOf a baker.\n\n## May\n\nDear $x^2$ friend.\n" and tei.kind == "TEI"
    assert cnxml.text == "About motion.\n\n# Motion\n\n## Speed\n\nIt is $\\frac{d}{t}$.\n" and cnxml.kind == "CNXML"
    for text, reason in (
        ("<project/>", "XML of another kind .root element project"),
        ("<article><x/></article>", "another kind"),
        ("nothing", "not valid XML"),
        ("<article><front/><body><sec/></body></article>", "JATS without text"),
    ):
        with pytest.raises(NotRead, match=reason):
            read_article(text.encode())
    bomb = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z SYSTEM "file:///etc/passwd">]><TEI><text><p>a&x;&z;b</p></text></TEI>'
    assert "root:" not in read_article(bomb.encode()).text


# --- licences ---------------------------------------------------------------------------------------------------------


def test_licences_of_code(tmp_path: Path) -> None:
    root = tmp_path / "code"
    (root / "deep" / "own").mkdir(parents=True)
    (root / "LICENSE").write_text("MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy")
    (root / "deep" / "own" / "COPYING.txt").write_text("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007")
    (root / "a.c").write_text("int main() { return 0; }\n")
    (root / "deep" / "b.RS").write_text("fn main() {}\n")
    (root / "deep" / "own" / "c.go").write_text("package main\n")
    (root / "d.py").write_text("# SPDX-License-Identifier: BSD-3-Clause\nx = 1\n")
    found, notes = opened(root, licence="CC0-1.0", text="source")
    said = {item["id"]: (item["metadata"]["licence"], item["metadata"]["kind"]) for item in found if "COPYING" not in item["id"]}
    assert said == {
        "code/a.c": ("MIT", "source"),
        "code/d.py": ("BSD-3-Clause", "source"),
        "code/deep/b.RS": ("MIT", "source"),
        "code/deep/own/c.go": ("GPL-3.0", "source"),
    }
    assert [item["text"] for item in found if item["id"] == "code/d.py"] == ["# SPDX-License-Identifier: BSD-3-Clause\nx = 1\n"]
    assert notes["a.c"].kind == "source" and opened(root)[1]["d.py"].reason == "Python without docstrings to speak of"
    assert licence_of_text("Apache License\n  Version 2.0, January 2004") == "Apache-2.0" and licence_of_text("All mine") == ""
    assert licence_of_page("https://creativecommons.org/publicdomain/zero/1.0/") == "CC0-1.0"
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "x.js").write_text("let x = 1\n")
    assert opened(tmp_path / "bare")[0][0]["metadata"]["licence"] == "unknown"


# --- encodings of pages, time-outs, shards ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written", "charset", "meta"),
    [
        ("Čeština je krásný jazyk", "iso8859-2", "ISO-8859-2", ""),
        ("Мальчик шёл", "koi8-r", "", "koi8-r"),
        ("院子里的梨树开花了", "gb18030", "gb2312", ""),
        ("日本語の文章です", "cp932", "", "Shift_JIS"),
        ("größer als schön", "utf-8", "iso-8859-1", ""),
        ("“très cher” – naïve", "cp1252", "", "iso-8859-1"),
        ("größer als schön", "utf-8-sig", "", "iso-8859-1"),
    ],
)
def test_pages_say_their_encoding(text: str, written: str, charset: str, meta: str) -> None:
    page = (
        f'<html><head><meta http-equiv="Content-Type" content="text/html; charset={meta}"></head>{text}</html>' if meta else text
    )
    assert text in decode_page(page.encode(written), charset).text


def test_a_record_that_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "SECONDS", 0.2)

    def stalls() -> str:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                sum(range(1000))
            except Exception:  # what parsers do
                continue
        return "done"

    begun = time.monotonic()
    with pytest.raises(NotRead, match="took longer than 0 s"):
        deadline.within(0, stalls)
    assert time.monotonic() - begun < 2
    assert deadline.within(0, lambda: "quick") == "quick"
    with pytest.raises(NotRead, match="KeyError"):
        deadline.within(0, dict[str, str]().__getitem__, "x")
    seen: list[str] = []

    def slow() -> str:
        time.sleep(0.4)
        return "no limit here"

    thread = threading.Thread(target=lambda: seen.append(deadline.within(0, slow)))
    thread.start()
    thread.join()
    assert seen == ["no limit here"]
