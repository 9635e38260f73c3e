"""No setting, file or part of the subject can change and return an old result."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.pipeline.chain import chain, domain_values, foreign_settings, input_files
from tenet.pipeline.run import domain_of
from tenet.pipeline.table import STAGES
from tenet.runs.execute import _Task
from tenet.runs.inputs import input_file
from tenet.settings.preset import Preset, load_preset, replace_section
from tenet.settings.rewards import EnvironmentConfig, RewardPart

SMOKE = str(Path(__file__).resolve().parents[1] / "presets" / "smoke.yaml")
#: Where something is computed, not what.
PLACEMENT = ("compute.devices", "compute.nodes", "parallel")


@pytest.fixture(scope="module")
def preset() -> Preset:
    return load_preset(SMOKE)


def fingerprint(run: Path, name: str, preset: Preset) -> str:
    """Of a stage whose inputs are not looked at."""
    chained = chain(preset, domain_of(preset))
    settings = getattr(preset, STAGES[name].section)
    foreign = {**foreign_settings(name, preset), **domain_values(chained.domain, STAGES[name].domain)}
    task = _Task(run, name, (), settings, 0, True, "cpu", foreign, tuple(input_files(name, chained)), STAGES[name].result)
    task.begin()
    return task.fingerprint


def changed(value: Any, kind: Any) -> Any:
    """Another value of the same type, or None where this test knows none."""
    options = [option for option in typing.get_args(kind) if isinstance(option, (str, int, float)) and option != value]
    if isinstance(value, bool):
        return not value
    if value == "all":
        return 3
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 if value else 0.25
    if isinstance(value, str):
        return options[0] if typing.get_origin(kind) is typing.Literal else value + "x"
    return None


def settings_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name of each plain setting and the section with another value of it."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, dotted = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            for inner, other in settings_of(value, f"{dotted}."):
                try:
                    yield inner, dataclasses.replace(config, **{field.name: other})
                except ValueError:  # refused beside the others, as below
                    continue
        elif (other := changed(value, hints[field.name])) is not None:
            try:
                yield dotted, dataclasses.replace(config, **{field.name: other})
            except ValueError:  # refused by the class itself, which is as good
                continue


@pytest.mark.parametrize("name", [name for name, stage in STAGES.items() if stage.result])
def test_every_setting_of_every_stage_counts(name: str, preset: Preset, tmp_path: Path) -> None:
    before = fingerprint(tmp_path, name, preset)
    section = STAGES[name].section
    tried = 0
    for dotted, other in settings_of(getattr(preset, section)):
        if dotted == "start_from":  # a path that is none is refused, see below
            continue
        try:
            after = fingerprint(tmp_path, name, replace_section(preset, section, other))
        except ConfigError:
            continue
        tried += 1
        assert (after == before) == dotted.startswith(PLACEMENT), f"{section}.{dotted}"
    assert tried >= 3


def test_the_model_and_other_foreign_settings_count(preset: Preset, tmp_path: Path) -> None:
    wider = dataclasses.replace(preset, model=dataclasses.replace(preset.model, intermediate_size=96))
    for name, stage in STAGES.items():
        same = fingerprint(tmp_path, name, wider) == fingerprint(tmp_path, name, preset)
        assert same == ("model" not in stage.foreign), name
    optim = dataclasses.replace(preset.pretrain, optim=dataclasses.replace(preset.pretrain.optim, lr=0.5))
    other = dataclasses.replace(preset, pretrain=optim)
    assert fingerprint(tmp_path, "model", other) != fingerprint(tmp_path, "model", preset)
    assert fingerprint(tmp_path, "reward", other) == fingerprint(tmp_path, "reward", preset)


def test_how_one_serves_is_no_result(preset: Preset, tmp_path: Path) -> None:
    other = replace_section(preset, "serve", dataclasses.replace(preset.serve, port=9, chat=True, dtype="bf16", engine="echo"))
    assert fingerprint(tmp_path, "serve", other) == fingerprint(tmp_path, "serve", preset)


@pytest.mark.parametrize(
    ("stage", "section", "key"),
    [("finetune", "finetune", "data"), ("reward", "reward", "data"), ("rlhf", "rlhf", "data"), ("redteam", "redteam", "goals")],
)
def test_an_edited_file_is_another_input(stage: str, section: str, key: str, preset: Preset, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 1}\n\n{"a": 2}\n')
    mine = replace_section(preset, section, dataclasses.replace(getattr(preset, section), **{key: str(rows)}))
    before = fingerprint(tmp_path, stage, mine)
    (entry,) = [file for file in input_files(stage, chain(mine, domain_of(mine))) if file.key == f"{section}.{key}"]
    assert (entry.name, entry.rows) == ("rows.jsonl", 2)
    rows.write_text('{"a": 1}\n\n{"a": 3}\n')
    assert fingerprint(tmp_path, stage, mine) != before


def test_what_the_parts_of_a_reward_name_is_an_input(preset: Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code by file and by module, a reward model's folder, a file of principles, the domain's own constitution."""
    files = {
        name: tmp_path / name
        for name in ("mine.py", "module_of_mine.py", "rules.yaml", "model/reward_head.safetensors", "env.py")
    }
    (tmp_path / "model").mkdir()
    for path in files.values():
        path.write_text("1")
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = (
        RewardPart("python", call=f"{tmp_path}/mine.py:score"),
        RewardPart("python", name="other", call="module_of_mine:score"),
        RewardPart("model", path=str(tmp_path / "model")),
        RewardPart("principle", principle="brief", constitution=str(files["rules.yaml"])),
        RewardPart("principle", principle="polite"),
    )
    environment = EnvironmentConfig("python", call=f"{tmp_path}/env.py:make")
    mine = replace_section(preset, "rlhf", dataclasses.replace(preset.rlhf, rewards=parts, environment=environment))
    named = {file.key: file.name for file in input_files("rlhf", chain(mine, domain_of(mine)))}
    assert named["rlhf.rewards polite: constitution.yaml"] == "constitution.yaml"
    assert named["rlhf.rewards other.call"] == "module_of_mine.py"
    before = fingerprint(tmp_path, "rlhf", mine)
    for number, path in enumerate(files.values()):
        path.write_text(f"2{number}")
        after = fingerprint(tmp_path, "rlhf", mine)
        assert after != before, path
        before = after
    assert (
        fingerprint(tmp_path, "rlhf", replace_section(mine, "rlhf", dataclasses.replace(mine.rlhf, rewards=parts[:2]))) != before
    )


def test_the_reward_stage_is_read_where_it_has_a_say(preset: Preset) -> None:
    def reads(*parts: RewardPart) -> tuple[str, ...]:
        mine = replace_section(preset, "rlhf", dataclasses.replace(preset.rlhf, rewards=parts))
        return chain(mine, domain_of(mine)).reads("rlhf")

    assert "reward" in reads() and "reward" in reads(RewardPart("verifier"), RewardPart("model"))
    assert "reward" not in reads(RewardPart("verifier")) and "reward" not in reads(RewardPart("model", path="elsewhere"))


def test_an_edited_domain_makes_what_reads_it_again(preset: Preset, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "documents").mkdir(parents=True)
    (folder / "documents" / "a.md").write_text("# A\n\nA text.\n")
    (folder / "domain.yaml").write_text("name: mine\nsources: [{kind: folder, name: documents}]\n")
    constitution = "prompts: [Who, What, Where, When]\nprinciples: [Be polite.{}]\n"
    goals = "categories:\n- id: a\n  harmful: {{train: [{{id: h, text: steal {}}}]}}\n  look_alikes: {{train: [{{id: b, text: buy}}]}}\n"
    (folder / "constitution.yaml").write_text(constitution.format(""))
    (folder / "goals.yaml").write_text(goals.format("one"))
    mine = dataclasses.replace(preset, domain=str(folder))
    names = ("corpus", "finetune", "constitutional", "redteam")
    before = {name: fingerprint(tmp_path, name, mine) for name in names}

    def moved() -> set[str]:
        return {name for name in names if fingerprint(tmp_path, name, mine) != before[name]}

    (folder / "goals.yaml").write_text(goals.format("two"))
    assert moved() == {"redteam"}
    (folder / "constitution.yaml").write_text(constitution.format(", Be brief."))
    assert moved() == {"constitutional", "redteam"}
    (folder / "documents" / "b.md").write_text("# B\n")
    assert moved() == {"corpus", "constitutional", "redteam"}


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune.data is .*no such file"):
        input_file("finetune.data", tmp_path / "absent.jsonl")
