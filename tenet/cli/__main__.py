"""`python -m tenet.cli`: what torchrun and the launch files start."""

from tenet.cli.main import entry

entry()
