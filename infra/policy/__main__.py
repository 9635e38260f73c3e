"""The policy pack: `pulumi preview --policy-pack infra/policy`. Only wires; a rule is a function in a `*_rules.py`."""

from __future__ import annotations

import sys
from pathlib import Path

# The engine puts this folder first, where resource.py and select.py would hide Python's own modules; the rules are a package of the
# one above, and read the tables of machines in the repository.
here = Path(__file__).resolve().parent
sys.path[:] = [str(here.parent), str(here.parents[1]), *(entry for entry in sys.path if Path(entry or ".").resolve() != here)]

from pulumi_policy import PolicyPack  # noqa: E402

from policy.engine import policies  # noqa: E402

PolicyPack(name="tenet", policies=policies())
