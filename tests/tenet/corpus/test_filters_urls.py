"""Lists of web addresses: what a rule means, which list goes first, where a domain begins, and that none is silent."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tenet.corpus.filters.urls import UrlRules, host_of, public_suffix, registrable_domain, top_level_domains
from tenet.errors import ConfigError


def rules(tmp_path: Path, block: str, allow: str = "") -> UrlRules:
    (tmp_path / "block.txt").write_text(block, encoding="utf-8")
    (tmp_path / "allow.txt").write_text(allow, encoding="utf-8")
    return UrlRules([tmp_path / "block.txt"], [tmp_path / "allow.txt"] if allow else [])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Example.ORG/a?b", "www.example.org"),
        ("http://user:pass@example.org:8080/", "example.org"),
        ("example.org:8080/x", "example.org"),
        ("//example.org?x@y.de", "example.org"),
        ("https://example.org./", "example.org"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://ＥＸＡＭＰＬＥ.org", "example.org"),
        ("https://[2001:db8::1]:443/a", "[2001:db8::1]"),
        ("http://example.org\\@evil.test/", "example.org"),
        ("", ""),
    ],
)
def test_host(url: str, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://news.bbc.co.uk/x", "bbc.co.uk"),
        ("alice.github.io", "alice.github.io"),
        ("https://a.b.city.kawasaki.jp", "city.kawasaki.jp"),  # an exception of the list
        ("https://a.b.c.kawasaki.jp", "b.c.kawasaki.jp"),  # a wildcard
        ("co.uk", ""),
        ("http://192.0.2.7/x", "192.0.2.7"),
        ("https://www.пример.рф/", "xn--e1afmkfd.xn--p1ai"),
        ("printer.lan", "printer.lan"),
    ],
)
def test_registrable_domain(url: str, domain: str) -> None:
    assert registrable_domain(url) == domain


def test_private_suffixes_can_be_left_out() -> None:
    assert registrable_domain("alice.github.io", private=False) == "github.io"
    assert public_suffix("www.example.com") == "com"
    assert {"com", "de", "xn--p1ai"} <= top_level_domains() and "png" not in top_level_domains()


def test_each_form_of_rule(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        "# remark\n\nbad.org # with a remark\n0.0.0.0 ads.example\n127.0.0.1 localhost\n*.dyn.net\n"
        "site.com/forum\n*casino*\nмафия.рф\n198.51.100.7\n",
    )
    assert found.refused == [] and len(found) == 7
    blocked = {
        "https://bad.org/": "domain bad.org (block.txt)",
        "http://deep.sub.BAD.org:80/x": "domain bad.org (block.txt)",
        "https://ads.example": "domain ads.example (block.txt)",
        "x.dyn.net": "domain dyn.net (block.txt)",
        "https://www.site.com/forum/1": "address www.site.com/forum (block.txt)",
        "https://ok.org/Casino-night": "substring casino (block.txt)",
        "https://xn--80aq3bj.xn--p1ai/": "",
        "http://198.51.100.7/a": "domain 198.51.100.7 (block.txt)",
    }
    blocked["https://xn--80aq3bj.xn--p1ai/"] = found.verdict("https://мафия.рф/") or "missing"
    for url, reason in blocked.items():
        if not url.startswith("https://xn--"):
            assert found.verdict(url) == reason
    assert found.verdict("https://мафия.рф/").startswith("domain xn--")
    for url in ("https://notbad.org", "https://bad.org.uk", "https://site.com/", "https://other.com/forum", "localhost"):
        assert found.verdict(url) == ""


def test_allow_lists_go_first(tmp_path: Path) -> None:
    found = rules(tmp_path, "bad.org\n*casino*\n", "good.bad.org\nbad.org/library\n")
    assert found.verdict("https://good.bad.org/casino") == ""
    assert found.verdict("https://bad.org/library/casino") == ""
    assert found.verdict("https://bad.org/x") == "domain bad.org (block.txt)"
    hosts_only = rules(tmp_path, "bad.org\n", "good.bad.org\n")
    assert hosts_only.verdict("https://good.bad.org/") == "" and hosts_only.verdict("https://www.bad.org/") != ""


def test_lines_that_are_no_rule_are_named(tmp_path: Path) -> None:
    found = rules(tmp_path, "bad.org\nco.uk\nwhat is this\n")
    assert [line.split(":")[1] for line in found.refused] == ["2", "3"]
    assert "*.co.uk" in found.refused[0]
    assert found.verdict("https://bbc.co.uk") == ""
    assert rules(tmp_path, "*.co.uk\n").verdict("https://bbc.co.uk") == "domain co.uk (block.txt)"


def test_folders_of_categories(tmp_path: Path) -> None:
    folder = tmp_path / "adult"
    folder.mkdir()
    (folder / "domains").write_text("one.org\n")
    (folder / "urls").write_text("two.org/a\n")
    (folder / "expressions").write_text("(a|b)\n")
    found = UrlRules([tmp_path])
    assert found.verdict("one.org") == "domain one.org (adult/domains)"
    assert found.verdict("http://two.org/a/b") == "address two.org/a (adult/urls)"
    assert found.unread == ["adult/expressions"]


def test_no_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        UrlRules([tmp_path / "none"])
    (tmp_path / "empty").write_text("# nothing\nwhat is this\n")
    with pytest.raises(ConfigError, match=r"not one rule.*what is this"):
        UrlRules([tmp_path / "empty"])


def test_many_rules_are_as_fast_as_few(tmp_path: Path) -> None:
    pick = random.Random(0)
    found = rules(tmp_path, "".join(f"site{i}.org\n" for i in range(20_000)))
    urls = [f"https://www.site{pick.randint(0, 40_000)}.org/page/{i}" for i in range(20_000)]
    start = time.process_time()
    blocked = sum(bool(found.verdict(url)) for url in urls)
    assert 0.4 < blocked / len(urls) < 0.6
    assert time.process_time() - start < 2
