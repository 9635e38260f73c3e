"""Which elements of a page are furniture by their name alone: menus, bars, banners, lists of comments."""

from __future__ import annotations

import re

#: Nothing in these is shown as text. `math` is taken out before, as its formula.
UNSEEN = (
    *("script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object", "embed", "canvas", "audio"),
    *("video", "textarea", "select", "button", "input", "datalist", "map", "dialog", "applet", "frameset", "progress"),
)
#: Elements that HTML has for what stands around the content.
FURNITURE = frozenset({"nav", "aside", "footer", "menu"})
#: `role` of the same.
_ROLES = frozenset(
    {
        *("navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "toolbar", "dialog", "alert"),
        *("alertdialog", "tablist", "tooltip", "status", "directory"),
    }
)
#: Words of `class` and `id` for what is not content, as whole words of names that are cut at "-", "_" and capitals.
_WORDS = frozenset(
    {
        *("nav", "navbar", "navigation", "navi", "navbox", "menu", "menus", "submenu", "breadcrumb", "breadcrumbs", "crumbs"),
        *("sidebar", "sidebars", "rail", "aside", "footer", "foot", "colophon", "copyright", "masthead", "topbar", "toolbar"),
        *("cookie", "cookies", "consent", "gdpr", "banner", "banners", "popup", "modal", "overlay", "lightbox", "paywall"),
        *("advert", "adverts", "advertisement", "advertising", "ads", "ad", "adsense", "sponsor", "sponsored", "promo"),
        *("promos", "promotion", "teaser", "teasers", "outbrain", "taboola", "newsletter", "subscribe", "subscription"),
        *("signup", "login", "signin", "register", "donate", "share", "sharing", "social", "sharebar", "sharethis", "addthis"),
        *("follow", "comments", "comment", "commentlist", "disqus", "respond", "replies", "responses", "pingback", "trackback"),
        *("related", "recommended", "recommendations", "recirc", "trending", "popular", "mostread", "tags", "tagcloud"),
        *("pagination", "pager", "paginator", "prevnext", "pagenav", "byline", "dateline", "timestamp", "authorbox"),
        *("toc", "tocbot", "headerlink", "editsection", "permalink", "linenos", "lineno", "gutter", "skip"),
        *("skiplink", "hidden", "invisible", "noprint", "print", "search", "searchbox", "widget", "widgets", "catlinks"),
        *("printfooter", "sitenotice", "jump", "reflist", "feedback", "rating", "ratings", "navfooter", "navheader"),
        *("sphinxsidebar", "languages", "language", "switcher", "dropdown", "carousel", "slider", "slideshow", "gallery"),
        *("credit", "credits", "disclaimer", "tooltip", "tooltips", "screenreader", "sr", "offcanvas", "drawer", "meta"),
        *("hatnote", "infobox", "more", "readmore", "next", "previous", "prev", "author", "bio", "profile", "metadata"),
    }
)
#: The same, where two words together say it.
_PAIRS = re.compile(
    r"(?:read|see|you|also|related|more|most|latest|recent|top)[-_ ]?(?:next|also|may|more|like|read|popular|posts|stories"
    r"|news|articles|links|content)|page[-_]?(?:header|footer|nav)|site[-_]?(?:header|footer|nav|info)|table[-_]?of[-_]?contents"
    r"|visually[-_]?hidden|author[-_]?(?:info|box|bio)|post[-_]?(?:info|footer|author|date|tags)|entry[-_]?(?:meta|footer|utility)"
    r"|article[-_]?(?:tools|meta|info|footer|date|share)|image[-_]?(?:caption|credit)|back[-_]?to[-_]?top|call[-_]?to[-_]?action",
    re.IGNORECASE,
)
#: Names that keep an element although one of the words above stands in them.
_CONTENT = re.compile(
    r"(?:^|[\s_-])(?:article|post|entry|story|page|main|doc|document|body)[-_]?(?:body|content|text|main|wrapper|container)"
    r"(?:$|[\s_-])|has[-_]|with[-_]|^no[-_]|[-_]no[-_]|[-_](?:layout|wrapper|open|visible|enabled|active)\b",
    re.IGNORECASE,
)
#: Short blocks that a site's program wrote, in English; what other languages say goes by its place and its links.
_FILLER = re.compile(
    r"(?:advert(?:isement|s|ising)?|sponsored(?: content)?|close|loading\W*|comments?|\d+ comments?|no comments(?: yet)?"
    r"|reply|print(?: this.*)?|e-?mail(?: this.*)?|shares?"
    r"|share (?:this|on|via|it)\b.*|tweet(?: this)?|sharing is caring\W*|save|menu"
    r"|skip to .*|(?:back|scroll back) to (?:the )?top|get short url|like this story\b.*|leave a (?:comment|reply).*"
    r"|follow (?:us|\S+) on .*|sign up (?:for|to) .*|subscribe (?:to|now|today|for)\b.*|(?:read|see) (?:more|also)\s?:.*"
    r"|related(?: (?:stories|articles|posts|content|links|topics|roundup))?\s?(?::.*)?"
    r"|you (?:may|might) also like\b.*|don't miss"
    r"|click here (?:to|for)\b.*|copyright\b.*|©.*|\(c\) \d{4}.*|all rights reserved\W*"
    r"|(?:previous|next)(?: (?:page|chapter|section|article|post))?"
    r"|(?:log|sign) in(?: to .*)?|last (?:updated|modified)\b.*"
    r"|edit (?:this page|on github)\b.*|view (?:page )?source|story continues.*)",
    re.IGNORECASE,
)
#: Longer ones are the author's, whatever they begin with.
_LONGEST_FILLER = 140
_CUT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_HIDING = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
#: Names once judged: a site has few, a corpus has millions of elements.
_JUDGED: dict[str, bool] = {}
_MOST_JUDGED = 100_000


def is_filler(text: str) -> bool:
    """Whether a block is one of the phrases that programs put between those of authors."""
    return len(text) <= _LONGEST_FILLER and _FILLER.fullmatch(text) is not None


def is_hidden(attributes: dict[str, str | None]) -> bool:
    """Whether a browser would not show the element."""
    return "hidden" in attributes or _HIDING.search(attributes.get("style") or "") is not None


def is_furniture(attributes: dict[str, str | None]) -> bool:
    """Whether role, class or id name something that stands around the content."""
    if (attributes.get("role") or "") in _ROLES:
        return True
    name = f"{attributes.get('class') or ''} {attributes.get('id') or ''}"
    if name == " ":
        return False
    found = _JUDGED.get(name)
    if found is None:
        if len(_JUDGED) >= _MOST_JUDGED:
            _JUDGED.clear()
        found = _JUDGED[name] = _judge(name)
    return found


def _judge(name: str) -> bool:
    if _CONTENT.search(name):
        return False
    words = _CUT.findall(name)
    return _PAIRS.search(name) is not None or any(word.lower() in _WORDS for word in words)
