"""Run folders: once, whole, refused when something else would be meant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, read_jsonl, write_bytes, write_json, write_text
from tenet.runs import execute as executing
from tenet.runs.lineage import lineage, stages_of, verify
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace


@dataclass(frozen=True)
class Config:
    size: int = 3


def body(config: Config, ws: Workspace) -> Summary:
    write_text(ws.dir / "out.txt", "x" * config.size)
    return Summary("made", [Figure("size", config.size)], timings={"s": 1.0})


def execute(
    run: Path, stage: str = "one", config: Config | None = None, reads: tuple[str, ...] = (), **more: object
) -> dict[str, object]:
    return executing.execute(run, stage, reads, config or Config(), body, seed=0, **more)  # type: ignore[arg-type]


def test_a_stage_runs_once(tmp_path: Path) -> None:
    first = execute(tmp_path)
    assert first["status"] == "done" and not (tmp_path / "one.partial").exists()
    assert execute(tmp_path) == first
    assert first["outputs"] and {o["path"] for o in first["outputs"]} == {"out.txt", "config.yaml", "summary.json"}  # type: ignore[attr-defined,index]


def test_other_settings_are_refused_and_fresh_keeps_the_old_folder(tmp_path: Path) -> None:
    execute(tmp_path)
    with pytest.raises(ConfigError, match=r"size: 3 -> 4.*--fresh"):
        execute(tmp_path, config=Config(4))
    execute(tmp_path, config=Config(4), fresh=True)
    assert (tmp_path / "one" / "out.txt").read_text() == "xxxx" and (tmp_path / "one.old1" / "out.txt").read_text() == "xxx"
    assert set(stages_of(tmp_path)) == {"one"}


def test_a_changed_input_is_another_input(tmp_path: Path) -> None:
    execute(tmp_path)
    execute(tmp_path, "two", reads=("one",))
    execute(tmp_path, config=Config(5), fresh=True)
    with pytest.raises(ConfigError, match="input one is another one"):
        execute(tmp_path, "two", reads=("one",))
    assert lineage(tmp_path, "two")[0]["broken_links"] == ["one"]


def test_an_input_made_again_with_the_same_bytes_is_the_same_input(tmp_path: Path) -> None:
    execute(tmp_path)
    done = execute(tmp_path, "two", reads=("one",))
    execute(tmp_path, fresh=True)
    assert execute(tmp_path, "two", reads=("one",)) == done


def test_what_a_killed_stage_left_is_there_again(tmp_path: Path) -> None:
    def dies(config: Config, ws: Workspace) -> Summary:
        write_text(ws.dir / "half", "h")
        raise KeyboardInterrupt

    def goes_on(config: Config, ws: Workspace) -> Summary:
        assert (ws.dir / "half").read_text() == "h"
        return body(config, ws)

    with pytest.raises(KeyboardInterrupt):
        executing.execute(tmp_path, "one", (), Config(), dies, seed=0)
    assert stages_of(tmp_path)["one"]["status"] == "unfinished"
    with pytest.raises(ConfigError, match="size"):
        execute(tmp_path, config=Config(9))
    assert executing.execute(tmp_path, "one", (), Config(), goes_on, seed=0)["attempts"] == 2


def test_a_half_written_file_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "one.partial").mkdir()
    (tmp_path / "one.partial" / ".out.txt.123.tmp").write_text("half")
    assert {o["path"] for o in execute(tmp_path)["outputs"]} == {"out.txt", "config.yaml", "summary.json"}  # type: ignore[attr-defined]


def test_undeclared_inputs_are_refused(tmp_path: Path) -> None:
    execute(tmp_path)

    def peeks(config: Config, ws: Workspace) -> Summary:
        ws.input("one")
        return Summary("")

    with pytest.raises(StageError, match="does not declare"):
        executing.execute(tmp_path, "two", (), Config(), peeks, seed=0)


def test_verify_names_the_file(tmp_path: Path) -> None:
    execute(tmp_path)
    verify(tmp_path / "one")
    (tmp_path / "one" / "out.txt").write_text("yyy")
    with pytest.raises(StageError, match=r"out\.txt.*differs"):
        verify(tmp_path / "one")
    (tmp_path / "one" / "out.txt").unlink()
    with pytest.raises(StageError, match=r"out\.txt.*missing"):
        verify(tmp_path / "one")


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]
    with pytest.raises(StageError, match="could not be written"):
        (tmp_path / "dir").mkdir()
        write_bytes(tmp_path / "dir", b"x")


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{\n')
    with pytest.raises(StageError, match=r"a\.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StageError, match=r"a\.jsonl:2"):
        read_jsonl(tmp_path / "a.jsonl")
    with pytest.raises(StageError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_a_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tenet run"):
        stages_of(tmp_path / "nothing")


def test_a_wrong_setting_that_the_body_finds_leaves_nothing_behind(tmp_path: Path) -> None:
    def refuses(config: Config, ws: Workspace) -> Summary:
        raise ConfigError(f"one.size is {config.size}; it must be even")

    with pytest.raises(ConfigError, match="even"):
        executing.execute(tmp_path, "one", (), Config(3), refuses, seed=0)
    assert not (tmp_path / "one.partial").exists() and tmp_path.exists()
    with pytest.raises(ConfigError, match="even"):
        executing.execute(tmp_path / "new", "one", (), Config(3), refuses, seed=0)
    assert not (tmp_path / "new").exists(), "the run's folder was made for this stage alone"
    assert execute(tmp_path, config=Config(4))["status"] == "done"


def test_work_that_was_done_is_never_thrown_away_for_a_wrong_setting(tmp_path: Path) -> None:
    def works_then_refuses(config: Config, ws: Workspace) -> Summary:
        write_text(ws.dir / "checkpoints" / "step-1", "hours of work")
        raise ConfigError("late")

    with pytest.raises(ConfigError, match="late"):
        executing.execute(tmp_path, "one", (), Config(), works_then_refuses, seed=0)
    assert (tmp_path / "one.partial" / "checkpoints" / "step-1").exists()


def test_a_foreign_setting_must_be_declared_and_counts(tmp_path: Path) -> None:
    def reads(config: Config, ws: Workspace) -> Summary:
        return Summary(str(ws.setting("model.layers")))

    with pytest.raises(StageError, match=r"model.layers but does not declare"):
        executing.execute(tmp_path, "one", (), Config(), reads, seed=0)
    executing.execute(tmp_path, "two", (), Config(), reads, seed=0, foreign={"model.layers": 2})
    with pytest.raises(ConfigError, match=r"model.layers: 2 -> 3"):
        executing.execute(tmp_path, "two", (), Config(), reads, seed=0, foreign={"model.layers": 3})
