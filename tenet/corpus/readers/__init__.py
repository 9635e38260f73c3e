"""Readers of files and data sets, one kind of source a module; `tenet.corpus.sources` says which there are."""
