"""What the finder of personal data finds, what it masks wrongly, and how fast it is.

    python benchmarks/personal_data.py                              # 300 planted strings, ../shared/data, installed texts
    python benchmarks/personal_data.py --show 5                     # with examples of what was missed and masked
    python benchmarks/personal_data.py --peer datafog=/path/to/its/python --peer scrubadub=...

The planted strings follow how such data is written in eighteen countries; the generator knows nothing of the finder and
validates nothing with its libraries. A string counts as found when its whole length is covered. A third of the contexts
has no word that says what the string is. "masks per 100,000 words" are false ones in novels; papers, source code and
manual pages also hold real addresses of authors, so `--show` says what the figure is made of. A peer is a library in an
environment of its own: it is asked about the same strings and the same books in a child process.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import random
import string
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Spans = list[tuple[int, int]]
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass(frozen=True)
class Planted:
    """A text and the place of the one string in it that must be found."""

    kind: str
    text: str
    start: int
    end: int


# --- how personal data looks ------------------------------------------------------------------------------------------

#: `#` is any digit, `N` 2 to 9, `{a|b}` one of the two; the rest is written as it stands.
PHONES = {
    "US": "({212|415|617|312|303|713}) N##-####;{212|415|617|646}-N##-####;{212|415|312}.N##.####;+1 {202|415|617} N## ####"
    ";+1-{303|713|646}-N##-####;1-{800|888|877}-N##-####;+1{415|212|617}N######;{415|212} N##-####",
    "GB": "+44 7{4|5|7|8|9}## ######;07{4|5|7|8|9}## ######;020 {7|8}### ####;+44 (0)20 7### ####;(0161) {2|4|8}## ####"
    ";07{7|8|9}########;0121 {2|3|4}## ####;+44 20 7### ####",
    "DE": "+49 30 N#######;030 / N######;0171 N######;0171/N######;+49 (0)89 N######;0049 176 N#######;089-N#######"
    ";(040) N## ## ##",
    "FR": "06 {1|2|6|7|8}# ## ## ##;01.4{2|3|4|5}.##.##.##;+33 6 {1|2|6|7|8}# ## ## ##;06{1|2|6|7}#######"
    ";01-4{2|3|5}-##-##-##;+33 (0)1 4# ## ## ##",
    "ES": "+34 6{1|2|5|6}# ### ###;6{1|2|5|6}# ### ###;91 {3|4|5}## ## ##;+34 91 {3|4|5}## ## ##;93-{2|3|4}##-##-##",
    "IT": "+39 06 {3|4|6|8}### ####;34{7|8|9} ### ####;02 {4|5|6|7|8}#######;+39 33{3|5|8} ### ####;34{7|8|9}/#######",
    "NL": "06-{1|2|3|4|5}#######;020-{4|5|6}######;+31 6 {1|2|3|4|5}#######;+31 (0)20 {4|5|6}## ####;06 {1|2|5}# ## ## ##",
    "CH": "044 {2|3}## ## ##;+41 79 {2|3|4|5|6}## ## ##;079 {2|3|4}## ## ##;+41 (0)44 {2|3}## ## ##",
    "AT": "+43 1 {5|7|8}######;0664 {1|2|3|4}######;+43 664 {1|2|3}######;01/{5|7}######",
    "BE": "047# ## ## ##;+32 47# ## ## ##;02 {5|6|7}## ## ##;02/{5|6|7}##.##.##",
    "SE": "070-{2|3|5|6}## ## ##;+46 70 {2|3|5|6}## ## ##;08-{5|6|7}## ### ##",
    "PL": "+48 60{1|2|3|5} ### ###;60{1|2|3|5} ### ###;22 {6|8}## ## ##;60{1|2|5}-###-###",
    "IN": "+91 98{1|2|4|7}## #####;98{1|2|4|7}## #####;+91-98{1|2|4}#######;0{11|22}-{2|4}#######",
    "AU": "04{1|2|3}# ### ###;(02) 9{2|3|4|5}## ####;+61 4{1|2|3}# ### ###;+61 2 9{2|3|4|5}## ####",
    "BR": "(11) 9{4|5|7|8}###-####;+55 11 9{4|6|8}###-####;(21) {2|3}###-####;11 9{4|5|8}###-####",
    "JP": "03-{3|5}###-####;090-{2|3|4|5|8}###-####;+81 90-{2|3|4|5}###-####;(03) {3|5}###-####",
    "CN": "138 {1|2|3}### ####;13{6|7|8|9}{1|2|3}#######;+86 138 {1|2|3}### ####;010-{6|8}#######;+86-10-{6|8}#######",
    "RU": "+7 (495) N##-##-##;8 (916) N##-##-##;+7 916 N## ## ##;8-495-N##-##-##",
}
FIRST = "anna jan marie tom lucia wei yuki raj pedro olga emma fatima lars chiara paul nina"
LAST = "miller kowalski dupont garcia rossi chen tanaka singh silva ivanova brown khan berg conti weber novak"
HOSTS = "gmail.com web.de orange.fr libero.it mail.ru outlook.com uni-heidelberg.de cs.stanford.edu nhs.uk proton.me"
HOSTS += " yahoo.co.jp vodafone.nl acme-tools.io bigpond.net.au uol.com.br qq.com wp.pl cam.ac.uk"
#: Country -> its BBAN: `#` digit, `A` capital letter, `X` either.
BBANS = {"DE": "#" * 18, "FR": "#" * 10 + "X" * 11 + "##", "GB": "AAAA" + "#" * 14, "ES": "#" * 20, "NL": "AAAA" + "#" * 10}
BBANS |= {"IT": "A" + "#" * 10 + "X" * 12, "CH": "#" * 5 + "X" * 12, "AT": "#" * 16, "BE": "#" * 12, "PL": "#" * 24}
BBANS |= {"SE": "#" * 20, "NO": "#" * 11, "IE": "AAAA" + "#" * 14, "PT": "#" * 21, "TR": "######" + "X" * 16, "DK": "#" * 14}
CARDS = {"4": 16, "51": 16, "54": 16, "2221": 16, "34": 15, "37": 15, "6011": 16, "65": 16, "3528": 16, "36": 14, "62": 16}
BASE64, ALNUM = string.ascii_letters + string.digits + "+/", string.ascii_letters + string.digits


def fill(pick: random.Random, pattern: str) -> str:
    """A pattern with its digits, letters and choices drawn."""
    out, rest = [], pattern
    while rest:
        sign, rest = rest[0], rest[1:]
        if sign == "{":
            choices, rest = rest.split("}", 1)
            sign = pick.choice(choices.split("|"))
        sets = {"#": string.digits, "N": "23456789", "A": string.ascii_uppercase, "X": string.ascii_uppercase + string.digits}
        out.append(pick.choice(sets[sign]) if sign in sets else sign)
    return "".join(out)


def phone(pick: random.Random) -> str:
    """A number of one of the countries, never of the 555 exchange, in a form that is usual there."""
    while "555" in (number := fill(pick, pick.choice(PHONES[pick.choice(sorted(PHONES))].split(";")))):
        pass
    return number


def email(pick: random.Random) -> str:
    """An address as mail programs, web pages and people who fear robots write it."""
    first, last, host = (pick.choice(names.split()) for names in (FIRST, LAST, HOSTS))
    name = pick.choice(
        [f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{pick.randint(1, 99)}", f"{first}+news", f"{last}"]
    )
    name = pick.choice([name] * 5 + [name.title(), name.upper()])
    spaced = f"{name} at {host.replace('.', ' dot ')}"
    return pick.choice(
        [f"{name}@{host}"] * 8
        + [f"{name} [at] {host}", f"{name}(at){host}", f"{name} [at] {host.replace('.', ' [dot] ')}", spaced]
    )


def address(pick: random.Random) -> str:
    """A public IPv4 or IPv6 address."""
    if pick.random() < 0.6:
        first = pick.choice([5, 17, 31, 46, 62, 78, 84, 91, 109, 134, 151, 178, 185, 193, 212, 217])
        return ".".join(map(str, [first, *(pick.randint(0, 255) for _ in range(2)), pick.randint(1, 254)]))
    head = pick.choice(["2001:4860", "2a02:8108", "2600:1f18", "2003:00e4", "2a01:4f8", "2400:cb00"])
    groups = [f"{pick.randint(1, 65535):x}" for _ in range(6)]
    forms = [
        ":".join([head, *groups]),
        f"{head}:{groups[0]}::{groups[1]}",
        f"{head}::{groups[2]}",
        f"{head}:{':'.join(groups[:3])}::1",
    ]
    return pick.choice([*forms, forms[0].upper()])


def card(pick: random.Random) -> str:
    """A payment card number with its check digit (Luhn)."""
    prefix = pick.choice(sorted(CARDS))
    body = prefix + "".join(pick.choices(string.digits, k=CARDS[prefix] - len(prefix) - 1))
    doubled = [int(digit) * (2 if i % 2 == 0 else 1) for i, digit in enumerate(reversed(body))]
    number = body + str(-sum(value - 9 * (value > 9) for value in doubled) % 10)
    ends = [4, 8, 12, 16] if len(number) == 16 else [4, 10, 16]
    parts = [number[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return pick.choice(["", " ", "-", " "]).join(parts)


def iban(pick: random.Random) -> str:
    """An IBAN with its two check digits (ISO 13616), in print or electronic form."""
    country = pick.choice(sorted(BBANS))
    bban = fill(pick, BBANS[country])
    check = 98 - int("".join(str(int(sign, 36)) for sign in f"{bban}{country}00")) % 97
    whole = f"{country}{check:02d}{bban}"
    return pick.choice([whole, " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))])


def ssn(pick: random.Random) -> str:
    """A US social security number."""
    area = pick.choice([n for n in range(1, 900) if n != 666])
    return pick.choice(["{:03d}-{:02d}-{:04d}"] * 3 + ["{:03d} {:02d} {:04d}"]).format(
        area, pick.randint(1, 99), pick.randint(1, 9999)
    )


def key(pick: random.Random) -> str:
    """A key or token of a service, or a value (between NULs) that is assigned to a name that says so."""

    def some(count: int, signs: str = ALNUM) -> str:
        return "".join(pick.choices(signs, k=count))

    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': some(9), 'iat': pick.randint(10**9, 2 * 10**9)})}.{some(43)}"
    lines = "\n".join(some(64, BASE64) for _ in range(pick.randint(3, 12)))
    kind = pick.choice(["RSA ", "EC ", "OPENSSH ", ""])
    block = f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"
    forms = [
        f"{pick.choice(['AKIA', 'ASIA'])}{some(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}",
        f"gh{pick.choice('pousr')}_{some(36)}",
    ]
    forms += [
        f"github_pat_{some(22)}_{some(59)}",
        f"xox{pick.choice('bp')}-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}",
    ]
    forms += [f"AIza{some(35, ALNUM + '-_')}", f"{pick.choice(['sk', 'rk'])}_live_{some(24)}", token, block, f"glpat-{some(20)}"]
    named = pick.choice(["api_key = '\0{}\0'", 'API_KEY="\0{}\0"', "aws_secret_access_key = \0{}\0", '"secret_key": "\0{}\0"'])
    return pick.choice([*forms, *forms, named.format(some(40, BASE64)), named.format(some(32))])


MAKERS: dict[str, Callable[[random.Random], str]] = {"email": email, "phone": phone, "ip": address, "card": card, "iban": iban}
MAKERS |= {"ssn": ssn, "key": key}
#: How many of 300 are of a kind.
SHARE = {"email": 65, "phone": 80, "ip": 40, "card": 35, "iban": 30, "ssn": 15, "key": 35}
#: Contexts; the first ones name the kind, those of ANY do not.
NAMED = {
    "email": "E-mail: {};You can write to {} until Friday.;<{}> wrote:;Kontakt: {}, Raum 3;From: Anna <{}>",
    "phone": "Call me at {} tonight.;Tel.: {};Phone {} (office);Telefon {}, werktags;Tél. : {};"
    "Mobile: {};Teléfono: {};WhatsApp {};Fax {}",
    "ip": "Failed password for root from {} port 22;IP address {};ping {};the server at {} is down;client={} status=200",
    "card": "Card number: {};Visa {} exp 09/28;paid with {} (credit card);Kreditkarte {};CC: {}",
    "iban": "IBAN: {};Please transfer it to {} by Monday.;Konto {} bei der Sparkasse;IBAN {}",
    "ssn": "SSN: {};Social Security Number {};his social security no. is {};SSN {}",
    "key": "{};export the key first:\n{}\n;credentials: {};token {}",
}
ANY = "Anna Weber, {}, Zurich;{};Smith | {} | active;see the note ({}) below;- {}\n- other;Best regards\nTom\n{};is it {}?"
FILLER = "She closed the book and looked out at the rain.|The meeting of 12 March 2019 took 45 minutes.|Nothing else was said."


def planted(count: int, seed: int) -> list[Planted]:
    """`count` texts with one string each, two thirds in a context that names its kind."""
    pick = random.Random(seed)
    kinds = [kind for kind, share in SHARE.items() for _ in range(round(share * count / sum(SHARE.values())))]
    made = []
    for kind in kinds:
        value = MAKERS[kind](pick)
        before, after = pick.choice(pick.choice([NAMED[kind], NAMED[kind], ANY]).split(";")).split("{}")
        name, value, mark = value.split("\0") if "\0" in value else ("", value, "")
        head, after = f"{pick.choice(FILLER.split('|'))}\n{before}{name}", mark + after
        made.append(Planted(kind, f"{head}{value}{after}\n{pick.choice(FILLER.split('|'))}", len(head), len(head) + len(value)))
    return made


# --- what is measured -------------------------------------------------------------------------------------------------


def recall(items: Sequence[Planted], spans: Sequence[Spans], show: int) -> None:
    """Share of the planted strings that is covered, by kind; examples of the others."""
    found: Counter[str] = Counter()
    missed: dict[str, list[str]] = {kind: [] for kind in SHARE}
    for item, places in zip(items, spans, strict=True):
        covered = {i for start, end in places for i in range(start, end)}
        if covered >= {i for i in range(item.start, item.end) if item.text[i].isalnum()}:
            found[item.kind] += 1
        else:
            missed[item.kind].append(item.text[max(0, item.start - 25) : item.end + 10].replace("\n", "/"))
    total = Counter(item.kind for item in items)
    print("  ".join(f"{kind} {found[kind]}/{total[kind]}" for kind in SHARE))
    print(f"all {sum(found.values())}/{len(items)} = {100 * sum(found.values()) / len(items):.1f} %")
    for kind, texts in missed.items():
        for text in texts[:show]:
            print(f"    missed {kind}: {text}")


def books() -> Iterator[str]:
    """The novels of the shared data."""
    for path in sorted((SHARED / "gutenberg").glob("*.md.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield file.read()


def rows_of(folder: str) -> Iterator[str]:
    """All strings of the rows of a folder of the shared data, a text a row."""

    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from strings(part)

    for path in sorted((SHARED / folder).glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield "\n".join(strings(json.loads(line)))


def botocore_texts() -> Iterator[str]:
    """Documentation in botocore's service models, a text a service."""
    import botocore

    for path in sorted((Path(botocore.__file__).parent / "data").glob("*/*/service-2.json.gz"))[:120]:
        model = json.loads(gzip.decompress(path.read_bytes()))
        yield "\n".join(str(shape.get("documentation", "")) for shape in model.get("shapes", {}).values())


def files_of(folder: Path, pattern: str, most: int) -> Iterator[str]:
    """Files of a folder as text, packed or not."""
    for path in sorted(folder.rglob(pattern))[:most]:
        data = path.read_bytes()
        try:
            yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        except (UnicodeDecodeError, OSError):
            continue  # not UTF-8: nothing here judges encodings


SOURCES: dict[str, Callable[[], Iterator[str]]] = {
    "books": books,
    "papers": lambda: rows_of("papers"),
    "openstax": lambda: rows_of("openstax"),
    "botocore": botocore_texts,
    "python": lambda: files_of(Path(sysconfig.get_paths()["stdlib"]), "*.py", 900),
    "man pages": lambda: files_of(Path("/usr/share/man"), "*.gz", 1500),
}


def pieces(texts: Iterator[str], size: int = 20_000) -> list[str]:
    """Texts as the corpus stage has them: a chapter at a time."""
    return [text[i : i + size] for text in texts for i in range(0, len(text), size)]


def false_masks(names: Sequence[str], show: int) -> None:
    """What is masked in texts without planted strings, for 100,000 words, by kind; and MB of UTF-8 a CPU second."""
    from tenet.corpus.filters.personal.masking import find

    for name in names:
        texts = pieces(SOURCES[name]())
        if not texts:
            print(f"{name:>10}: not here, left out")
            continue
        words, size = sum(len(text.split()) for text in texts), sum(len(text.encode()) for text in texts)
        start = time.process_time()
        found = [(text, item) for text in texts for item in find(text)]
        seconds = time.process_time() - start
        kinds = Counter(item.kind for _, item in found)
        rate = 1e5 * len(found) / words
        speed = f"{words:9,} words, {size / 1e6 / seconds:6.1f} MB/s"
        print(f"{name:>10}: {speed}, {len(found):5} masks = {rate:.2f} per 100,000 words {dict(kinds)}")
        for kind in kinds:
            for text, item in [pair for pair in found if pair[1].kind == kind][:show]:
                before, after = text[max(0, item.start - 30) : item.start], text[item.end : item.end + 15]
                print(f"    {kind}: {before!r} {item.value!r} {after!r}")


# --- a second opinion -------------------------------------------------------------------------------------------------

_ASK = "\nimport json, sys, time\nt = json.load(sys.stdin)\nspans(t[0])\ns = time.process_time()\n"
_ASK += "print('\\n' + json.dumps([[[list(p) for p in spans(x)] for x in t], time.process_time() - s]))"
_PLACES = "    return [(i, i + len(v)) for v in found for i in [x.find(v)] if v and i >= 0]\n"
#: Library -> how it is asked for the places of all that it finds in a text.
PEERS = {
    "scrubadub": "import scrubadub\ns0 = scrubadub.Scrubber()\ndef spans(x):\n"
    "    return [(f.beg, f.end) for f in s0.iter_filth(x)]\n",
    "datafog": "from datafog.processing.text_processing.regex_annotator import RegexAnnotator\na = RegexAnnotator()\n"
    "def spans(x):\n    found = [v for vs in a.annotate(x).values() for v in vs]\n" + _PLACES,
    "presidio-analyzer": "from presidio_analyzer.predefined_recognizers import *\n"
    "rs = [EmailRecognizer(), PhoneRecognizer(), IpRecognizer(), CreditCardRecognizer(), IbanRecognizer(), UsSsnRecognizer()]\n"
    "def spans(x):\n"
    "    return [(f.start, f.end) for r in rs for f in r.analyze(x, r.supported_entities, None) or [] if f.score >= 0.3]\n",
}


def second_opinion(name: str, python: str, items: Sequence[Planted], show: int) -> None:
    """The same strings and the first books, asked of a library in the environment of `python`."""
    text = "".join(list(books())[:2])[:1_000_000]
    asked = [*(item.text for item in items), *pieces(iter([text]))]
    result = subprocess.run(
        [python, "-c", PEERS[name] + _ASK], input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if result.returncode:
        reason = (result.stderr.strip() or "no output").splitlines()[-1]
        print(f"\n{name}: left out, {reason} (--peer {name}=PYTHON names an environment that has it)")
        return
    spans, seconds = json.loads(result.stdout.strip().splitlines()[-1])
    places = [[(start, end) for start, end in found] for found in spans]
    count, size = sum(map(len, places[len(items) :])), sum(len(item.encode()) for item in asked) / 1e6
    rate = f"{1e5 * count / max(1, len(text.split())):.1f} masks per 100,000 words of two books" if text else "no books here"
    print(f"\n{name}: {size / seconds:.2f} MB/s, {rate}")
    recall(items, places[: len(items)], show)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="planted strings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="examples for each kind")
    parser.add_argument("--source", action="append", choices=sorted(SOURCES), help="only these; repeatable")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"of {', '.join(PEERS)}; repeatable")
    options = parser.parse_args()
    from tenet.corpus.filters.personal.masking import find

    items = planted(options.count, options.seed)
    recall(items, [[(found.start, found.end) for found in find(item.text)] for item in items], options.show)
    false_masks(options.source or list(SOURCES), options.show)
    given = dict(peer.split("=", 1) for peer in options.peer)
    for name in PEERS:
        second_opinion(name, given.get(name, sys.executable), items, options.show)


if __name__ == "__main__":
    main()
