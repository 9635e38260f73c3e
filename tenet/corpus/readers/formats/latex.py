"""LaTeX as text: comments, preamble, layout and references go, the author's own macros are written out, mathematics stays
as it was typed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from tenet.corpus.readers.decoding import NotRead

#: Environments that stay as they are: mathematics between double dollars, programs as they stand.
_MATH = ("equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "alignat", "flalign", "IEEEeqnarray")
_PROGRAMS = ("verbatim", "lstlisting", "minted", "Verbatim", "alltt")


def _each(names: str, count: int) -> dict[str, int]:
    return dict.fromkeys(names.split(), count)


#: Environments that are left out whole; captions are saved before.
_OUT = tuple(_each("thebibliography figure wrapfigure tikzpicture picture pspicture filecontents comment CCSXML pgfpicture", 0))
_HEADINGS = {"part": 1, "chapter": 1, "section": 2, "subsection": 3, "subsubsection": 4, "paragraph": 5, "subparagraph": 6}
#: Commands that go with their arguments, and how many those are.
_GONE = {
    **_each("cite citep citet citeauthor citeyear parencite textcite nocite label ref eqref autoref cref Cref pageref", 1),
    **_each("bibliography bibliographystyle usepackage input include includegraphics vspace hspace index thispagestyle", 1),
    **_each("pagestyle email thanks author date affil address keywords hypersetup graphicspath phantom vskip color tag", 1),
    **_each("setlength addtolength setcounter addtocounter rule newtheorem", 2),
}
#: Commands of which a later argument is the text: which one.
_LATER = {**_each("href textcolor colorbox parbox scalebox raisebox", 2), **_each("resizebox multicolumn multirow", 3)}
_SIGNS = "ss ß ae æ AE Æ oe œ OE Œ o ø O Ø l ł L Ł aa å AA Å i ı j ȷ S § P ¶ copyright © pounds £ euro € textdegree °"
_SIGNS += " dots ... ldots ... LaTeX LaTeX TeX TeX textbackslash \\ textasciitilde ~ textendash – textemdash — textbar |"
_SIGNS += " textless < textgreater > ie i.e. eg e.g. textquotesingle ' guillemotleft « guillemotright »"
_LETTERS = dict(zip(_SIGNS.split()[::2], _SIGNS.split()[1::2], strict=True))
_LETTERS |= {"quad": " ", "qquad": " ", "par": "\n\n", "newline": "\n", "and": "\n", "etal": "et al."}
_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", "~": "\u0303", "=": "\u0304", ".": "\u0307", '"': "\u0308"}
_ACCENTS |= {"c": "\u0327", "v": "\u030c", "u": "\u0306", "H": "\u030b", "r": "\u030a", "k": "\u0328", "d": "\u0323"}
_ACCENTS |= {"b": "\u0331"}
_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*)%[^\n]*(?:\n[ \t]*)?")
_ACCENT = re.compile(r"\\(?:(['`^\"~=.])\s*|([cvuHrkdb])(?:\s+|(?=\{)))(?:\{\s*\\?([A-Za-zı])\s*\}|\\?([A-Za-zı]))")
_DEFINED = re.compile(
    r"\\(?:re|provide)?newcommand\*?\s*\{?\s*\\([A-Za-z]+)\s*\}?\s*(?:\[(\d)\])?(\[[^\]]*\])?\s*"
    r"|\\def\s*\\([A-Za-z]+)\s*((?:#\d)*)\s*"
)
_COMMAND = re.compile(r"\\([A-Za-z@]+)\*?[ \t]*")
#: Formulas and programs are taken out while words are mended, and put back: \x02 number \x03.
_HELD = re.compile(r"\x02(\d+)\x03")
#: Texts grow by macros up to this many times; more is a trap.
_MOST_GROWTH = 20


def latex_text(text: str) -> str:
    """The text of a LaTeX file.

    Raises:
        NotRead: nothing is left (a file of macros or of settings).
    """
    title = _argument_of(text, "title")
    held: list[str] = []
    text = _hold_programs(text.replace("\x02", "").replace("\x03", ""), held)
    text = _COMMENT.sub(lambda found: found[1], text)
    macros, text = _definitions(text)
    begun = text.find("\\begin{document}")
    if begun >= 0:
        text = text[begun + len("\\begin{document}") :].partition("\\end{document}")[0]
    elif "\\documentclass" in text:
        raise NotRead("LaTeX without a document")
    text = _hold_formulas(_expanded(text, macros), held)
    text = _words(_environments(text))
    text = _HELD.sub(lambda found: held[int(found[1])], _HELD.sub(lambda found: held[int(found[1])], text))
    text = re.sub(r"\n[ \t]*(?:\n[ \t]*)+", "\n\n", text).strip()
    if not text:
        raise NotRead("LaTeX without text")
    return f"# {_words(title).strip()}\n\n{text}\n" if title.strip() else text + "\n"


def _hold(held: list[str], text: str) -> str:
    held.append(text)
    return f"\x02{len(held) - 1}\x03"


def _hold_programs(text: str, held: list[str]) -> str:
    for name in _PROGRAMS:
        text = re.sub(
            rf"\\begin\{{{name}\}}(?:\[[^\]]*\])?(?:\{{[a-z]+\}})?\n?(.*?)\\end\{{{name}\}}",
            lambda found: "\n\n" + _hold(held, found[1].rstrip()) + "\n\n",
            text,
            flags=re.DOTALL,
        )
    return re.sub(r"\\(?:verb|lstinline)\*?([^\w\s{*])(.*?)\1", lambda found: _hold(held, found[2]), text)


def _hold_formulas(text: str, held: list[str]) -> str:
    def display(body: str) -> str:
        body = re.sub(r"\\label\{[^}]*\}|\\nonumber|\\notag", "", body).strip()
        return "\n\n" + _hold(held, f"$${body}$$") + "\n\n" if body else ""

    names = "|".join(_MATH)
    text = re.sub(
        rf"\\begin\{{(?P<name>(?:{names})\*?)\}}(?P<body>.*?)\\end\{{(?P=name)\}}",
        lambda found: display(found["body"]),
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r"\\\[(.*?)\\\]", lambda found: display(found[1]), text, flags=re.DOTALL)
    text = re.sub(r"(?<!\\)\$\$(.*?)\$\$", lambda found: display(found[1]), text, flags=re.DOTALL)
    text = re.sub(r"\\\((.*?)\\\)", lambda found: _hold(held, f"${found[1].strip()}$"), text, flags=re.DOTALL)
    return re.sub(r"(?<!\\)\$((?:[^$\\]|\\.)+?)\$", lambda found: _hold(held, f"${found[1].strip()}$"), text, flags=re.DOTALL)


def _group(text: str, start: int, pair: str = "{}") -> int:
    """End (exclusive) of the group that begins at `start`; -1 where none does, or it is not closed."""
    if start >= len(text) or text[start] != pair[0]:
        return -1
    depth, at = 0, start
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
        elif sign == pair[0]:
            depth += 1
        elif sign == pair[1]:
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    return -1


def _argument_of(text: str, command: str) -> str:
    found = re.search(rf"^[^%\n]*\\{command}\s*(?:\[[^\]]*\])?\s*(?={{)", text, re.MULTILINE)
    end = _group(text, found.end()) if found else -1
    return text[found.end() + 1 : end - 1] if found and end > 0 else ""


def _definitions(text: str) -> tuple[dict[str, tuple[int, str]], str]:
    """The author's macros (name -> arguments, body) and the text without their definitions."""
    macros: dict[str, tuple[int, str]] = {}
    parts, at = [], 0
    for found in _DEFINED.finditer(text):
        if found.start() < at:
            continue
        end = _group(text, found.end())
        if end < 0:
            continue
        name, body = found[1] or found[4], text[found.end() + 1 : end - 1]
        if f"\\{name}" not in body and not found[3]:
            macros[name] = (int(found[2] or 0) if found[1] else found[5].count("#"), body)
        parts.append(text[at : found.start()])
        at = end
    return macros, "".join(parts) + text[at:]


def _expanded(text: str, macros: dict[str, tuple[int, str]]) -> str:
    most = _MOST_GROWTH * len(text) + 10_000
    for _ in range(5 if macros else 0):
        changed = _replaced(
            text, lambda name: name in macros, lambda name, args: _filled(macros[name][1], args), lambda n: macros[n][0]
        )
        if changed == text:
            break
        if len(changed) > most:
            raise NotRead("LaTeX macros that grow without end")
        text = changed
    return text


def _filled(body: str, arguments: list[str]) -> str:
    for number, argument in enumerate(arguments, 1):
        body = body.replace(f"#{number}", argument)
    return body if arguments or not body[-1:].isalpha() else body + "{}"


def _replaced(
    text: str, wanted: Callable[[str], bool], made: Callable[[str, list[str]], str], count: Callable[[str], int]
) -> str:
    """Commands with their arguments replaced by what `made` says."""
    parts, at = [], 0
    for found in _COMMAND.finditer(text):
        if found.start() < at or not wanted(found[1]) or (found.start() and text[found.start() - 1] == "\\"):
            continue
        arguments, end = [], found.end()
        for _ in range(count(found[1])):
            while (option := _group(text, end, "[]")) > 0:
                end = option
            stop = _group(text, end)
            if stop < 0:
                break
            arguments.append(text[end + 1 : stop - 1])
            end = stop
        parts += [text[at : found.start()], made(found[1], arguments)]
        at = end
    return "".join(parts) + text[at:]


def _environments(text: str) -> str:
    for name in _OUT:
        pattern = re.compile(rf"\\begin\{{{name}\*?\}}(.*?)\\end\{{{name}\*?\}}", re.DOTALL)
        text = pattern.sub(lambda found: f"\n\n{_argument_of(found[1], 'caption')}\n\n", text)

    def rows(found: re.Match[str]) -> str:
        lines = re.split(
            r"\\\\(?:\[[^\]]*\])?|\\tabularnewline",
            re.sub(r"\\(?:hline|toprule|midrule|bottomrule|cline\{[^}]*\})", "", found[1]),
        )
        return (
            "\n\n"
            + "\n".join(" | ".join(c.strip() for c in re.split(r"(?<!\\)&", line)) for line in lines if line.strip())
            + "\n\n"
        )

    text = re.sub(
        r"\\begin\{tabular[*xy]?\}(?:\[[^\]]*\])?(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})*(.*?)\\end\{tabular[*xy]?\}",
        rows,
        text,
        flags=re.DOTALL,
    )
    text = re.sub(r"\\item\s*(?:\[([^\]]*)\])?\s*", lambda found: f"\n- {found[1] + ' ' if found[1] else ''}", text)
    text = re.sub(r"\\begin\{abstract\}", "\n\n## Abstract\n\n", text)
    return re.sub(r"\\(?:begin|end)\s*\{[^}]*\}(?:\[[^\]]*\])?", "\n\n", text)


def _words(text: str) -> str:
    """Text without commands: headings marked, letters and quotes as they print."""
    text = _ACCENT.sub(lambda f: unicodedata.normalize("NFC", (f[3] or f[4]) + _ACCENTS[f[1] or f[2]]), text)
    text = _replaced(
        text, _HEADINGS.__contains__, lambda name, args: f"\n\n{'#' * _HEADINGS[name]} {''.join(args)}\n\n", lambda name: 1
    )
    text = _replaced(text, _GONE.__contains__, lambda name, args: "", _GONE.__getitem__)
    text = _replaced(text, _LATER.__contains__, lambda name, args: args[-1] if args else "", _LATER.__getitem__)
    text = _replaced(text, _LETTERS.__contains__, lambda name, args: _LETTERS[name], lambda name: 0)
    text = re.sub(r"\\\\(?:\[[^\]]*\])?", "\n", text)
    text = re.sub(r"\\[A-Za-z@]+\*?(?:\[[^\]\n]*\])?[ \t]*", "", text)  # what is left: its argument is text
    text = re.sub(r"(?<!\\)[{}]", "", text).replace("\\-", "").replace("\\/", "")
    text = re.sub(r"\\([$%&#_{}])", r"\1", text)
    text = re.sub(r"\\[,;:! ]", " ", text).replace("~", " ").replace("``", "“").replace("''", "”")
    text = text.replace("---", "—").replace("--", "–")
    return re.sub(r"[ \t]+([,.;:)\]])", r"\1", re.sub(r"[ \t]*\n[ \t]*", "\n", re.sub(r"[ \t]+", " ", text)))
