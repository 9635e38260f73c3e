"""Readers of one kind of file each: bytes in, text (or rows) out, or `NotRead` with the reason."""
