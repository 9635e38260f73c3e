"""What the program reads of the rest of the repository: the table of machines and the error of its look-up, nothing
else.

Both are found in this clone, so that `pulumi install` needs no Tenet (and no torch), and a Tenet that is installed from
elsewhere cannot hand in another table.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Second: the program's own modules stay in front.
if str(ROOT) not in sys.path:
    sys.path.insert(1, str(ROOT))

from tenet.errors import ConfigError  # noqa: E402
from tenet.hardware import INSTANCES, Instance, instance  # noqa: E402

__all__ = ["INSTANCES", "ConfigError", "Instance", "instance"]
