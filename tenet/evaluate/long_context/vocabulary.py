"""Words for what is hidden: names of things, and coined words where no text gives enough real ones."""

from __future__ import annotations

import re

from tenet.evaluate.long_context.draws import Draws

_QUALITIES = (
    "amber azure bitter blunt brass bright broken calm carved clever coarse copper crooked curved dark distant double "
    "dusty early empty faded faint fine flat foreign frozen gentle gilded grey heavy hollow humble iron ivory lame "
    "late leaden light little lofty lonely mellow narrow neat northern oaken old pale patient plain polished proud "
    "quiet rapid rough round rusty sandy second shallow silent silver simple slender smooth solid southern spare "
    "stone strange striped sudden tall tame thick third tidy tin upper velvet violet warm western wide wild winding "
    "wooden woven yellow"
)
_THINGS = (
    "anchor apron arrow awning badge barge barrel basket beacon bell bench blanket boat bottle bridge broom bucket "
    "button cabinet candle canoe carpet cart castle cellar chair chimney clock cloth compass cradle cup curtain dial "
    "door drawer drum engine fence ferry fiddle flag flute forge fountain gate glove hammer harbour hat hinge hook "
    "jar kettle key kite ladder lamp lantern ledger lock loom magnet map mast mill mirror mitten needle oar orchard "
    "organ paddle parcel pillar pitcher plough pump quilt rudder saddle scale scarf shelf ship shovel sickle spade "
    "spoon stable stove tent thimble tower tray trumpet vault violin wagon wall well wheel whistle window"
)
_SOUNDS = ("b br c cl d dr f fl g gr h j k l m n p pl qu r s st t tr v w z", "a e i o u ai ea oo")
QUALITIES, THINGS = _QUALITIES.split(), _THINGS.split()
_ONSETS, _VOWELS = (sounds.split() for sounds in _SOUNDS)
#: Most syllables end with their vowel.
_CODAS = ("", "", "", "l", "n", "r", "s", "m", "th", "rk")


def names(draws: Draws, count: int) -> list[str]:
    """So many different names of things, "rusty amber lantern"."""
    found: dict[str, None] = {}
    while len(found) < count:
        first, second = draws.some(QUALITIES, 2)
        found[f"{first} {second} {draws.one(THINGS)}"] = None
    return list(found)


def coined(draws: Draws, count: int) -> list[str]:
    """So many different words that mean nothing, "flaroom"."""
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [draws.one(_ONSETS) + draws.one(_VOWELS) + draws.one(_CODAS) for _ in range(2 + draws.below(2))]
        found["".join(parts)] = None
    return list(found)


def plain_words(text: str) -> list[str]:
    """The different words of a text of four to ten small letters, sorted; no names, which stand with a capital."""
    return sorted(set(re.findall(r"(?<![\w'-])[a-z]{4,10}(?![\w'-])", text)))
