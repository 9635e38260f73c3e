"""Which web addresses are not read: lists of domains, address beginnings and substrings, allow lists before them.

A list is a file, or a folder as UT1 (the University of Toulouse's categories) lays them out: `adult/domains`,
`adult/urls`. A line is one rule:

    example.org             the domain and all below it       0.0.0.0 example.org     the same, as a hosts file says it
    *.example.org           the same; the only way to name a public suffix such as *.co.uk
    example.org/forum       addresses that begin so, on that host exactly
    *casino*                addresses that contain it         # ...                   a remark

Hosts are compared in lower case and in their ASCII form (IDNA, UTS 46), without user, port and final dot. Where a
domain begins is what the Public Suffix List says (publicsuffix.org), of which the package tld holds a copy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import idna

from tenet.errors import ConfigError

#: What is remembered of a host on an allow list where addresses are looked at too.
_ALLOWED = "\0allowed"
#: Files of a folder of lists that are read: a category's domains and addresses.
_LISTS = ("domains", "urls")
#: Hosts whose verdict is remembered; a crawl sees the same ones again and again.
_REMEMBERED = 100_000
_PORT = re.compile(r"^:\d*")
_SCHEME, _NAME = r"\s*(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?", r"(\[[^\]/?#]*\]|[^/?#\\:\s]*)"
_HOST, _WITH_USER = re.compile(_SCHEME + _NAME), re.compile(rf"{_SCHEME}(?:[^/?#\\]*@)?{_NAME}")
_HOSTS_FILE = re.compile(r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?|fe80::1%lo0)\s+(\S+)")
_ADDRESS = re.compile(r"\d+(?:\.\d+){3}|\[.*\]")
#: Names that every hosts file begins with; they are no rules.
_OWN_NAMES = frozenset(
    {"localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "0.0.0.0"}
)
#: A rule must hold a host name or an address; anything else is not a line of such a list.
_DOMAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\d+(?:\.\d+){3}|\[[0-9a-f:.]+\]")


# --- hosts ------------------------------------------------------------------------------------------------------------


def host_of(url: str) -> str:
    """The host of an address in lower case and ASCII, without user, port and final dot; "" where it has none."""
    return _ascii(_host(url)[1])


def _host(url: str) -> re.Match[str]:
    """The beginning of an address up to the end of its host; both patterns match every text."""
    return (_WITH_USER if "@" in url else _HOST).match(url)  # type: ignore[return-value]


def _ascii(host: str) -> str:
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:  # no name that a resolver would take; compared as it stands
        return host


@functools.cache
def _suffixes(private: bool) -> frozenset[str]:
    """Rules of the Public Suffix List in ASCII, with their `*.` and `!`."""
    import tld

    text = (Path(tld.__file__).parent / "res" / "effective_tld_names.dat.txt").read_text(encoding="utf-8")
    lines = (text if private else text.partition("===BEGIN PRIVATE DOMAINS===")[0]).splitlines()
    rules = (line.split()[0] for line in lines if line.strip() and not line.startswith("//"))
    return frozenset(re.match(r"(?:!|\*\.)?", rule)[0] + _ascii(rule.lstrip("!*.")) for rule in rules)  # type: ignore[index]


@functools.cache
def top_level_domains() -> frozenset[str]:
    """All that a host name may end with, in ASCII: com, de, xn--p1ai ..."""
    return frozenset(rule.rsplit(".", 1)[-1] for rule in _suffixes(False))


def public_suffix(host: str, private: bool = True) -> str:
    """The part of a host name below which anyone can register: "co.uk" of "www.bbc.co.uk".

    Args:
        host: as `host_of` gives it.
        private: also the suffixes that companies let out (github.io, blogspot.com).
    """
    labels, rules = host.split("."), _suffixes(private)
    for i in range(len(labels)):  # the longest rule wins; an exception (!) beats a wildcard
        name, parent = ".".join(labels[i:]), ".".join(labels[i + 1 :])
        if f"!{name}" in rules:
            return parent
        if name in rules or (parent and f"*.{parent}" in rules):
            return name
    return labels[-1]


def registrable_domain(url: str, private: bool = True) -> str:
    """The domain that somebody registered, of a host or an address: "bbc.co.uk" of "https://www.bbc.co.uk/news".

    An IP address is its own; a public suffix has none ("").
    """
    host = host_of(url)
    if _ADDRESS.fullmatch(host):
        return host
    suffix = public_suffix(host, private)
    above = host[: -len(suffix) - 1]
    return f"{above.rsplit('.', 1)[-1]}.{suffix}" if above else ""


# --- rules ------------------------------------------------------------------------------------------------------------


@dataclass
class _Rules:
    """What lists say, each rule with the name of its list: that of the first one that has it."""

    domains: dict[str, str] = field(default_factory=dict)
    beginnings: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    automaton: object = None

    def __len__(self) -> int:
        return len(self.domains) + sum(map(len, self.beginnings.values())) + len(self.parts)


class UrlRules:
    """Block lists and the allow lists that go before them.

    `refused` names every line that is no rule, `unread` files of a folder that are none of the two kinds; both are for
    the card.

    Raises:
        ConfigError: a list is missing or has no rule at all.
    """

    def __init__(self, block: Sequence[Path], allow: Sequence[Path] = ()) -> None:
        self.refused: list[str] = []
        self.unread: list[str] = []
        self._allow, self._block = self._read(allow), self._read(block)
        self._seen: dict[str, str] = {}
        self._by_host_only = not any((r.beginnings or r.parts) for r in (self._allow, self._block))

    def __len__(self) -> int:
        return len(self._allow) + len(self._block)

    def verdict(self, url: str) -> str:
        """ "" for an address that may be read, else the reason: "domain example.org (adult/domains)"."""
        raw = _host(url)[1]
        known = self._seen.get(raw)
        if known is None:
            known = self._remember(raw)
        if self._by_host_only:
            return known
        if known == _ALLOWED or ((self._allow.parts or self._allow.beginnings) and self._by_text(self._allow, url)):
            return ""
        return known or self._by_text(self._block, url)

    def _remember(self, raw: str) -> str:
        host = _ascii(raw)
        if _by_domain(self._allow.domains, host):
            known = "" if self._by_host_only else _ALLOWED
        else:
            known = _by_domain(self._block.domains, host)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[raw] = known
        return known

    def _by_text(self, rules: _Rules, url: str) -> str:
        if rules.beginnings:
            host = host_of(url)
            for beginning, source in rules.beginnings.get(host.removeprefix("www."), ()):
                if _path(url).startswith(beginning):
                    return f"address {host}{beginning} ({source})"
        if rules.parts:
            for _, part in rules.automaton.iter(url.lower()):  # type: ignore[attr-defined]
                return f"substring {part} ({rules.parts[part]})"
        return ""

    # --- reading ---

    def _read(self, lists: Sequence[Path]) -> _Rules:
        rules = _Rules()
        for place in lists:
            before = len(rules)
            for file, name in self._files(place):
                self._read_file(rules, file, name)
            if len(rules) == before:
                raise ConfigError(
                    f"{place}: not one rule for web addresses was found there{self._first_refused()}; give a file "
                    "with a domain a line, or a folder with files `domains` or `urls`"
                )
        if rules.parts:
            import ahocorasick

            automaton = ahocorasick.Automaton()
            for part in rules.parts:
                automaton.add_word(part, part)
            automaton.make_automaton()
            rules.automaton = automaton
        return rules

    def _first_refused(self) -> str:
        return f" (first line refused: {self.refused[0]})" if self.refused else ""

    def _files(self, place: Path) -> Iterator[tuple[Path, str]]:
        if place.is_file():
            yield place, place.name
        elif place.is_dir():
            for file in sorted(path for path in place.rglob("*") if path.is_file()):
                if file.name in _LISTS:
                    yield file, f"{file.parent.name}/{file.name}"
                else:
                    self.unread.append(str(file.relative_to(place)))
        else:
            raise ConfigError(f"{place}: no such file or folder of rules for web addresses")

    def _read_file(self, rules: _Rules, file: Path, name: str) -> None:
        try:
            lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read ({error.strerror})") from None
        for number, line in enumerate(lines, 1):
            line = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().lstrip("\ufeff")
            if line and (why := _add(rules, line, name)):
                self.refused.append(f"{file.name}:{number}: {line[:80]!r} {why}")


def _by_domain(domains: dict[str, str], host: str) -> str:
    """The rule for the host or the nearest domain above it."""
    if not domains or not host:
        return ""
    if host[-1] in "]0123456789" and _ADDRESS.fullmatch(host):
        return f"domain {host} ({domains[host]})" if host in domains else ""
    while host not in domains:
        dot = host.find(".")
        if dot < 0:
            return ""
        host = host[dot + 1 :]
    return f"domain {host} ({domains[host]})"


def _add(rules: _Rules, line: str, name: str) -> str:
    """Take one line; the reason why it is no rule, or ""."""
    if own := _HOSTS_FILE.fullmatch(line):
        line = own[1]
        if line.lower() in _OWN_NAMES:
            return ""
    if len(line) > 2 and line[0] == line[-1] == "*":
        rules.parts.setdefault(line[1:-1].lower(), name)
        return ""
    wild = line.startswith(("*.", "."))
    host = host_of(line.lstrip("*."))
    if not _DOMAIN.fullmatch(host) or " " in line:
        return "is no domain, address beginning or *substring*"
    if path := _path(line).rstrip("/"):
        rules.beginnings.setdefault(host.removeprefix("www."), []).append((path, name))
    elif not wild and not _ADDRESS.fullmatch(host) and public_suffix(host, private=False) == host:
        return f"is a public suffix, below which anyone registers; write *.{host} if all of it is meant"
    else:
        rules.domains.setdefault(host, name)
    return ""


def _path(url: str) -> str:
    """What stands behind the host and its port."""
    return _PORT.sub("", url[_host(url).end() :])
