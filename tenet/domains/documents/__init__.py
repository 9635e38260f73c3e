"""Rows made from anybody's documents: headings, first sentences, definitions and terms give questions whose answers are
true by construction."""
