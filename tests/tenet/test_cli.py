"""The command line: quick to answer, exact in what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.pipeline.table import STAGES
from tenet.settings.preset import load_preset


def test_help_lists_every_stage_and_imports_nothing_heavy() -> None:
    script = "import sys, tenet.cli.main; tenet.cli.main.main(['--help']); print([m for m in ('torch', 'lightning', 'transformers', 'datatrove', 'sky') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
    assert all(f" {name} " in out for name in STAGES)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["pretrai"], "did you mean pretrain"),
        (["pretrain", "--optim.lrr", "3"], "optim.lrr"),
        (["pretrain", "--optim.lr", "fast"], "optim.lr"),
        (["pretrain", "--optim.lr=-1"], "optim.lr is -1"),
        (["pretrain", "--preset", "huge"], "no such preset"),
        (["run", "--preset", "tiny", "--until", "lunch"], "--until lunch"),
        (["show", "runs/absent"], "no such run"),
    ],
)
def test_wrong_settings_end_with_2_and_name_the_key(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert named in capsys.readouterr().err


def test_a_dry_run_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--dry-run", "--run", str(tmp_path / "r"), "--optim.lr", "0.125"]) == 2
    out = capsys.readouterr().out
    assert "NOT FINISHED: corpus, model" in out and "lr: 0.125" in out and not (tmp_path / "r").exists()


def test_a_config_file_goes_between_preset_and_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("context: 128\noptim:\n  lr: 0.5\n")
    main(["pretrain", "--dry-run", "--config", str(tmp_path / "c.yaml"), "--optim.lr", "0.25"])
    out = capsys.readouterr().out
    assert "context: 128" in out and "lr: 0.25" in out and "muon_lr: 0.02" in out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("  num_heads: 4", "num_heads: 3|num_kv_heads"),
        ("  context: 256", "context: 4096|max_position_embeddings"),
        ("  hidden_size: 128", "hidden: 1|hidden"),
    ],
)
def test_impossible_presets_are_refused(tmp_path: Path, change: str, named: str) -> None:
    new, key = named.split("|")
    text = (Path(__file__).resolve().parents[2] / "presets" / "tiny.yaml").read_text()
    batch = text.replace("batch_tokens: 2048", "batch_tokens: 4096") if "4096" in new else text
    (tmp_path / "bad.yaml").write_text(batch.replace(change, "  " + new, 1))
    with pytest.raises(ConfigError, match=key):
        load_preset(str(tmp_path / "bad.yaml"))


def test_flags_of_serve_as_people_type_them() -> None:
    from tenet.flags import settings_flags
    from tenet.settings.serving import ServeConfig

    def plain_flags(words: list[str]) -> list[str]:
        return settings_flags(words, ServeConfig)

    typed = [
        "--model",
        "DIR",
        "--model-id",
        "a.b",
        "--alias",
        "c.d",
        "--alias=e.f",
        "--chat",
        "--max-concurrency=4",
        "--traces",
        "false",
    ]
    assert plain_flags(typed) == [
        *("--model", "DIR", "--model_id", "a.b", "--chat", "true", "--max_concurrency=4", "--traces", "false"),
        *("--aliases", '["c.d", "e.f"]'),
    ]
    assert plain_flags(["--chat", "--port", "1"]) == ["--chat", "true", "--port", "1"]
    assert plain_flags(["--dry_run", "--print-config=x_y", "--run", "a_b"]) == ["--dry-run", "--print_config=x_y", "--run", "a_b"]
    assert plain_flags(["--no-engine-process", "--no-port"]) == ["--engine_process", "false", "--no-port"]


@pytest.mark.parametrize("words", [["report", "--cell-seconds", "x"], ["report", "--cell_seconds", "x"]])
def test_words_beside_the_stages_take_both_spellings_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*words, "runs/absent"])
    assert "--cell-seconds: invalid int value" in capsys.readouterr().err


def test_help_of_a_stage_shows_flags_as_people_type_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    assert "[--chat | --no-chat]" in shown and "  --chat, --no-chat" in shown and "--max-concurrency" in shown
    assert not re.search(r"--[a-z-]*_|\{true", shown)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--print-config"])
    assert ended.value.code in (None, 0) and "max_concurrency: 16" in capsys.readouterr().out
