"""A folder that a setting names: one line and exit 2, nothing started, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from lightning_modules.data.conversations import encode
from lightning_modules.model.hub import save_model
from tenet.cli.main import main
from tenet.errors import ConfigError, StageError
from tenet.model_folders import check_model_folder, load_model_folder
from tenet.runs.execute import execute
from tenet.runs.summary import Summary
from tenet.runs.workspace import Workspace
from tenet.stages.training.pretrain import start_model
from tests.lightning_modules.tiny import raw_tokenizer, tiny_model, tiny_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    source = tmp_path / "tokenizer"
    source.mkdir()
    raw_tokenizer().save(str(source / "tokenizer.json"))
    save_model(tiny_model(), tmp_path / "model", source, (2, 0), 0)
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_sound_folder_is_taken_and_says_what_it_passes_over(model: Path) -> None:
    assert check_model_folder(model, "--model") == []
    change(model / "config.json", a_trick_of_mine=None)
    (model / "model-00001-of-00002.safetensors").write_bytes(b"an older save")
    stale, key = check_model_folder(model, "--model")
    assert "model-00001-of-00002.safetensors: not read" in stale and "a_trick_of_mine is not known here" in key
    assert load_model_folder(model, "--model").config == tiny_model().config


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: change(m / "config.json", hidden_act="gelu"), "hidden_act 'gelu': the decoder computes silu alone"),
        (lambda m: (m / "tokenizer.json").unlink(), r"tokenizer\.json: no such file"),
        (lambda m: (m / "chat_template.jinja").write_text("{% if %}"), "no valid Jinja"),
        (lambda m: (m / "chat_template.jinja").write_text("<|im_end|>{{ raise_exception('not today') }}"), "not today"),
        (lambda m: (m / "model.safetensors").write_bytes(b"{}"), "not a readable safetensors file"),
        (lambda m: (m / "config.json").write_text("{"), r"config\.json: not valid JSON"),
    ],
)
def test_serve_refuses_before_it_starts(
    model: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], words: str
) -> None:
    damage(model)
    with pytest.raises(ConfigError, match=f"^serve: .*{words}"):
        check_model_folder(model, "serve")
    assert main(["serve", "--model", str(model), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"tenet: serve: {model}") and said.count("\n") == 1, said


def test_a_tokenizer_too_large_for_the_table_is_refused(model: Path) -> None:
    tokenizer = raw_tokenizer()
    tokenizer.add_tokens(["one", "more"])
    tokenizer.save(str(model / "tokenizer.json"))
    config = json.loads((model / "config.json").read_text())
    del config["tokenizer_fingerprint"]  # as in a folder of somebody else's
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"322 entries, but the model's vocab_size is 320"):
        check_model_folder(model, "--model")


def test_pretraining_goes_on_only_under_the_models_own_tokenizer(model: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus" / "tokenizer"
    corpus.mkdir(parents=True)
    workspace = cast(Workspace, SimpleNamespace(input=lambda stage: tmp_path / stage))
    config: Any = SimpleNamespace(start_from=str(model))
    raw_tokenizer().save(str(corpus / "tokenizer.json"))
    assert start_model(config, workspace).config == tiny_model().config
    content = json.loads((corpus / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]  # the same size, other meanings
    (corpus / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"pretrain\.start_from is .* 2 ids are other entries, e\.g\. .*'a' and 'b'"):
        start_model(config, workspace)
    (model / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer\.json there"):
        start_model(config, workspace)
    with pytest.raises(ConfigError, match=r"pretrain\.start_from is .*no tokenizer\.json"):
        start_model(cast(Any, SimpleNamespace(start_from=str(tmp_path / "absent"))), workspace)


@dataclass(frozen=True)
class Nothing:
    pass


def test_a_row_that_the_template_refuses_ends_a_stage_with_its_name(tmp_path: Path) -> None:
    def body(config: Nothing, ws: Workspace) -> Summary:
        encode(tiny_tokenizer(), [{"id": "r7", "messages": [{"role": "user", "content": "Hi"}]}], 64)
        raise AssertionError("taken")

    with pytest.raises(ConfigError, match=r"one: conversation 'r7': .*no assistant turn"):
        execute(tmp_path, "one", (), Nothing(), body, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_broken_model_is_not_handed_on(tmp_path: Path) -> None:
    def body(config: Nothing, ws: Workspace) -> Summary:
        broken = tiny_model()
        with torch.no_grad():
            broken.norm.weight[3] = float("inf")
        save_model(broken, ws.dir / "model", tmp_path, (2, 0), 0)
        raise AssertionError("written")

    with pytest.raises(StageError, match=r"one: .*model\.norm\.weight holds NaN or infinity \(1 of 48 values\)"):
        execute(tmp_path, "one", (), Nothing(), body, seed=0)
    assert not list(tmp_path.rglob("*.safetensors"))
