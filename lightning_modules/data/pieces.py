"""What a single token adds to a text, as bytes: a token may hold half a character, which no decoder can show alone."""

from __future__ import annotations

import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>\Z")
#: What SentencePiece writes for a blank.
_BLANK = "\u2581"


def byte_alphabet() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte, backwards: printable bytes are themselves, the rest follow
    from 256 on (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}


class Pieces:
    """The bytes of every token of one `tokenizers.Tokenizer`, byte-level or with SentencePiece's byte fallback."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = tokenizer.get_added_tokens_decoder()
        self._alphabet = byte_alphabet() if "ByteLevel" in tokenizer.to_str() else {}

    def bytes_of(self, token: int) -> bytes:
        """Empty for an id that has no entry."""
        name: str = self._tokenizer.id_to_token(token) or ""
        if token in self._added:
            return name.encode()
        if self._alphabet:
            return bytes(self._alphabet[letter] for letter in name)
        byte = _BYTE.match(name)
        return bytes([int(byte[1], 16)]) if byte else name.replace(_BLANK, " ").encode()
