"""Formulas as TeX: from what MathML carries with it, or from its elements where it carries nothing."""

from __future__ import annotations

from typing import Any

#: Elements of presentation MathML with arguments -> TeX with their places.
_FORMS = {
    "mfrac": "\\frac{{{0}}}{{{1}}}",
    "msup": "{0}^{{{1}}}",
    "msub": "{0}_{{{1}}}",
    "msubsup": "{0}_{{{1}}}^{{{2}}}",
    "munderover": "{0}_{{{1}}}^{{{2}}}",
    "munder": "{0}_{{{1}}}",
    "mover": "{0}^{{{1}}}",
    "mroot": "\\sqrt[{1}]{{{0}}}",
}
#: Nothing in these is part of the formula as it is read.
_SILENT = frozenset({"annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark"})
_SPACES = frozenset({"mspace", "none", "mprescripts"})
#: Signs that stand for an operation without being written.
_INVISIBLE = str.maketrans({"\u2061": None, "\u2062": None, "\u2063": None, "\u2064": None, "\u200b": None})


def local(tag: Any) -> str:
    """Name of an lxml element without its namespace; "" of comments and instructions."""
    return tag.rpartition("}")[2].rpartition(":")[2] if isinstance(tag, str) else ""


def tex(math: Any) -> str:
    """TeX of a `math` element (lxml): its own annotation, its `alttext`, else what its elements say.

    Returns: without dollars; "" of an empty formula.
    """
    for note in math.iter():
        if local(note.tag) == "annotation" and "tex" in (note.get("encoding") or "").lower():
            return _stripped("".join(note.itertext()))
    said = math.get("alttext") or ""
    return _stripped(said) if said.strip() else " ".join(_linear(math, 0).split())


def _stripped(text: str) -> str:
    """TeX without the display style that converters put around every formula."""
    text = " ".join(text.split()).strip("$ ")
    if text.startswith("{\\displaystyle") and text.endswith("}"):
        text = text[len("{\\displaystyle") : -1].strip()
    return text


def _linear(element: Any, depth: int) -> str:
    name = local(element.tag)
    if name in _SILENT or not name:
        return ""
    if name in _SPACES:
        return " "
    if depth > 200:  # a formula nests a dozen deep
        return " ".join(element.itertext())
    inside = [child for child in element if local(child.tag) and local(child.tag) not in _SILENT]
    parts = [_linear(child, depth + 1) for child in inside]
    if name in _FORMS and len(parts) >= _FORMS[name].count("{{{") + ("{0}" in _FORMS[name].replace("{{{0}}}", "")):
        return _FORMS[name].format(*parts)
    if name == "msqrt":
        return f"\\sqrt{{{' '.join(parts)}}}"
    if name == "mtr":
        return " & ".join(parts) + " \\\\ "
    if name == "mfenced":
        return f"{element.get('open', '(')}{', '.join(parts)}{element.get('close', ')')}"
    own = (element.text or "").translate(_INVISIBLE).strip() if not inside else ""
    if name == "mo" and own:
        return f" {own} " if own in "=<>+-−±×·→≤≥≈≠∈" else own
    return own + "".join(f"{part} " if local(child.tag) == "mtext" else part for part, child in zip(parts, inside, strict=True))


def replace_formulas(tree: Any) -> None:
    """Put TeX in the place of every formula of a page (a tree of selectolax)."""
    from lxml import etree

    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True)
    for node in tree.css("span.katex-html, .MathJax_Preview, .MathJax, img.mwe-math-fallback-image-inline"):
        node.decompose()
    for node in tree.css('script[type^="math/tex"]'):
        node.replace_with(f"${' '.join(node.text(deep=True).split())}$")
    for node in tree.css("math"):
        try:
            root = etree.fromstring(node.html.encode(), parser)
        except etree.XMLSyntaxError:
            root = None
        said = tex(root) if root is not None else node.text(deep=True)
        node.replace_with(f" ${said}$ " if said else " ")
