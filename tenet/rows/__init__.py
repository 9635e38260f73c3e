"""Rows: what every kind looks like, one reader and one normaliser for the shapes that people have, and one way to hold
rows out."""

from tenet.rows.kinds import KINDS, Conversation, Document, Kind, Message, Preference, PromptRow, Rating, Row
from tenet.rows.locate import data_files
from tenet.rows.ratings import taken_apart
from tenet.rows.split import group_of, split
from tenet.rows.table import Refused, Table, function_files, guess_kind, read_files, read_table

__all__ = [
    "KINDS",
    "Conversation",
    "Document",
    "Kind",
    "Message",
    "Preference",
    "PromptRow",
    "Rating",
    "Refused",
    "Row",
    "Table",
    "data_files",
    "function_files",
    "group_of",
    "guess_kind",
    "read_files",
    "read_table",
    "split",
    "taken_apart",
]
