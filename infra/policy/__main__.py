"""The policy pack: `pulumi preview --policy-pack infra/policy`. Only wires; a rule is a function in a `*_rules.py`.

The engine makes this folder the current one and puts it first on the path, before Python has imported anything: a file
here with the name of a standard module would be imported in its place. None has such a name, and a test keeps it so.
"""

from __future__ import annotations

import sys
from pathlib import Path

# The rules are a package of the folder above, beside the modules of the program that they read.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pulumi_policy import PolicyPack

from policy.engine import policies

PolicyPack(name="tenet", policies=policies())
