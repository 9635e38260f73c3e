"""Duplicates at any size on one machine: whole texts (`exact`), edited copies (`near`), passages (`spans`), earlier runs
(`earlier`), and the check that nothing alike stands on both sides of a split (`across`).

Everything that grows with the corpus lies in files of a scratch folder (`spill`); what a step holds in memory is said
before it starts.
"""
