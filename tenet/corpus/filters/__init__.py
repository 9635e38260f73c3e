"""Filters of documents, each with a score and a reason; one kind of trouble a module."""
