"""Two sides compared by a judge: `tenet compare-answers`."""
