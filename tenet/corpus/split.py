"""What is held out: whole groups by a hash of their names, or the ends of the groups where there are too few for that.

A group is placed by its name alone, so that new documents or another seed move nothing. That gives shares near what was
asked only where there are many groups of one size. Otherwise groups are taken in the order of their places until the
share is reached; and where even that cannot be (one book, three files, one file that is most of the text), the end of
every group is held out instead of whole groups.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tenet.corpus.documents import Held, size, text_key
from tenet.errors import StageError

Split = Literal["train", "valid", "test"]
#: Held-out splits in the order in which they take their share.
HELD: tuple[Split, ...] = ("test", "valid")
#: Fewest documents that three splits can be made of.
FEWEST = 10
#: A share is near what was asked from half of it to twice it (or this much: one of ten groups is a tenth).
NEAR = 0.1
Shares = dict[Split, float]


@dataclass
class Holdout:
    """The split of each document, and how it was found: "hash", "share", "within" or "" (there was nothing to
    choose)."""

    splits: list[Split]
    how: str = ""
    groups: dict[Split, list[str]] = field(default_factory=dict)


def place(name: str) -> float:
    """Fixed place of a group in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"tenet family {name}".encode()).digest()[:8], "big") / 2**64


def order_key(seed: int, text: str) -> bytes:
    """A fixed, seeded shuffle: sort by this."""
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def split_of(group: str, heldout: tuple[float, float]) -> Split:
    """The split of a group by its place.

    Args:
        group: its name.
        heldout: shares for validation and for test.
    """
    where = place(group)
    return "test" if where < heldout[1] else "valid" if where < sum(heldout) else "train"


def hold_out(documents: Sequence[Held], heldout: tuple[float, float]) -> Holdout:
    """Give each document its split; the result depends on ids and texts, not on the order of reading.

    Documents whose group is fixed (a domain's own, whose rows are held out alike) go by their place. A document without
    a group is training text, unless none has one: then each is a group of its own.

    Raises:
        StageError: there are fewer than `FEWEST` documents to hold some of out.
    """
    if not any(item["metadata"]["group"] for item in documents):
        for item in documents:
            item["metadata"]["group"] = item["id"]
    splits: list[Split] = ["train"] * len(documents)
    groups: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(documents):
        metadata = item["metadata"]
        if metadata.get("_fixed"):
            splits[i] = split_of(metadata["group"], heldout)
        elif metadata["group"]:
            groups[metadata["group"]].append(i)
    loose = [i for members in groups.values() for i in members]
    others_do = {"valid", "test"} <= {splits[i] for i in range(len(documents))}
    how = ""
    if len(loose) >= FEWEST:
        chosen, how = _choose(documents, groups, heldout)
        for i, split in chosen.items():
            splits[i] = split
    elif not others_do:
        raise StageError(
            f"corpus: {len(loose)} documents of {len(groups)} files or rows are left to hold some out of; at least {FEWEST} are needed for a "
            "training, a validation and a test split. Add text (a few thousand characters are enough); removed.jsonl and skipped.jsonl of "
            "the unfinished folder say what was left out"
        )
    return Holdout(splits, how, _names(documents, splits))


def _names(documents: Sequence[Held], splits: Sequence[Split]) -> dict[Split, list[str]]:
    """Names of what is held out: the unit of the cap where it is finer than the group (services of a family)."""
    found: dict[Split, set[str]] = {"valid": set(), "test": set()}
    for item, split in zip(documents, splits, strict=True):
        if split != "train":
            found[split].add(item["metadata"].get("_cap") or item["metadata"]["group"])
    return {split: sorted(names) for split, names in found.items()}


def _choose(
    documents: Sequence[Held], groups: dict[str, list[int]], heldout: tuple[float, float]
) -> tuple[dict[int, Split], str]:
    asked: Shares = {"test": heldout[1], "valid": heldout[0]}
    sizes = {i: size(documents[i]) for members in groups.values() for i in members}
    weights = {name: sum(sizes[i] for i in members) for name, members in groups.items()}
    by_hash = {name: split_of(name, heldout) for name in groups}
    for how, of_group in (("hash", by_hash), ("share", _until_reached(weights, asked))):
        if _is_near(of_group, weights, asked):
            return {i: of_group[name] for name, members in groups.items() for i in members}, how
    ordered = [
        sorted(members, key=lambda i: (documents[i]["metadata"].get("_at", 0), documents[i]["id"], text_key(documents[i])))
        for _, members in sorted(groups.items())
    ]
    within = {i: split for members in ordered for i, split in _ends(members, sizes, asked).items()}
    if not set(HELD) <= set(within.values()):  # many short files: their ends are nothing, the end of all of them is something
        within = _ends([i for members in ordered for i in members], sizes, asked, least=1)
    return within, "within"


def _until_reached(weights: dict[str, int], asked: Shares) -> dict[str, Split]:
    """Groups in the order of their places, each to the first split that still lacks as much as it would bring, give or
    take `NEAR`."""
    total = sum(weights.values())
    taken: dict[Split, int] = {split: 0 for split in HELD}
    found: dict[str, Split] = {}
    for name in sorted(weights, key=place):
        found[name] = "train"
        for split in HELD:
            after = taken[split] + weights[name]
            if taken[split] < asked[split] * total and after <= _most(asked[split]) * total:
                found[name], taken[split] = split, after
                break
    return found


def _most(share: float) -> float:
    return max(2 * share, min(NEAR, 0.5))


def _is_near(of_group: dict[str, Split], weights: dict[str, int], asked: Shares) -> bool:
    total = sum(weights.values())
    for split in HELD:
        share = sum(weights[name] for name, where in of_group.items() if where == split) / total
        if not asked[split] / 2 <= share <= _most(asked[split]):
            return False
    return True


def _ends(members: Sequence[int], sizes: dict[int, int], asked: Shares, least: int = 0) -> dict[int, Split]:
    """The last documents of a row of them: test at the very end, validation before it, each at least `least`."""
    total, left = sum(sizes[i] for i in members), list(members)
    found: dict[int, Split] = {}
    for split in HELD:
        taken, count = 0, 0
        while len(left) > 1 and (count < least or taken + sizes[left[-1]] / 2 <= asked[split] * total):
            i = left.pop()
            found[i], taken, count = split, taken + sizes[i], count + 1
    return {**found, **{i: "train" for i in left}}
