"""Small documents for tests: a few gardens' worth of true sentences in Markdown, reStructuredText and plain text."""

from __future__ import annotations

from pathlib import Path

PLANTS = (
    "apple",
    "bean",
    "carrot",
    "dill",
    "endive",
    "fennel",
    "garlic",
    "hazel",
    "iris",
    "juniper",
    "kale",
    "leek",
    "mint",
    "nettle",
)
PARTS = ("Sowing", "Watering", "Harvest", "Storage")

MARKDOWN = """# The pump station

The pump station lifts water from the river into the upper basin. It has two pumps.

## The main pump

A centrifugal pump is a machine that turns the motion of a wheel into the flow of water. Its wheel has `seven blades` of bronze.

```sh
pumpctl start main
```

## The valve

A check valve is a valve that lets water pass in one direction only. It closes when the flow turns back.

| part | material |
|---|---|
| seat | brass |
| flap | rubber |

# Not a heading of level two (it ends with words)

Workers inspect the valve every Monday. They write the reading into the log book.
"""

RST = """The "with" statement
********************

The with statement wraps a block with methods that a manager defines. It is compound.

Nested blocks
=============

Nested blocks are entered from left to right and left in the other order::

   with a() as x, b() as y:
       use(x, y)

See the language reference for more.
"""


def garden(plant: str) -> str:
    """A document of four sections about one plant; each sentence is in one section alone."""
    text = [f"# The {plant} book\n\nThe {plant} book tells how a gardener grows {plant} from seed to store.\n"]
    for number, part in enumerate(PARTS):
        word = f"{plant}{part.lower()}"
        text.append(
            f"## {part} of {plant}\n\n"
            f"{part} of {plant} begins in week {number + 3} when the ground of the garden is ready. "
            f"A {word} is a tool that gardeners of this valley carry in their left hand. "
            f"They clean the {word} after every evening and hang it beside the wooden door. "
            f"Good {plant} needs patience, water and a quiet corner with plenty of morning light.\n"
        )
    return "\n".join(text)


def write_garden(folder: Path, plants: tuple[str, ...] = PLANTS) -> Path:
    """A folder with one document for each plant."""
    folder.mkdir(parents=True, exist_ok=True)
    for plant in plants:
        (folder / f"{plant}.md").write_text(garden(plant), encoding="utf-8")
    return folder
