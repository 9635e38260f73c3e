"""Which stages a run has, in which order, and what each starts from and reads: worked out from preset and domain alone,
before anything runs.

A stage that lacks its part (no preferences, no goals) is left out of a whole run with its reason; asked for by name it
is an error. Training stages hand a model on: each starts from the nearest one before it, or from what its `start_from`
says, so that SFT > DPO > evaluate is a list in a preset and not a patch.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.domains.domain import Domain
from tenet.errors import ConfigError
from tenet.pipeline.table import STAGES
from tenet.rows import function_files
from tenet.runs.inputs import InputFile, input_file
from tenet.settings.preset import Preset

#: Stages that write `model/`, a model that answers (or continues text), in the order in which they are made.
POLICIES = ("pretrain", "finetune", "dpo", "rlhf", "constitutional", "redteam")
#: What `start_from` takes beside a stage and a folder.
PACKAGED = ("smollm2",)
#: A setting with this value means the domain's own part.
OWN = "domain"


@dataclass(frozen=True)
class Chain:
    """The stages of one run.

    Args:
        names: in order.
        left_out: stage -> what it lacks.
    """

    preset: Preset
    domain: Domain | None
    names: tuple[str, ...]
    left_out: Mapping[str, str]

    def start(self, name: str) -> str:
        """What a policy stage starts from: a stage of the run, a folder, a packaged model, or "" (random weights).

        Raises:
            ConfigError: nothing before it makes a model, and `start_from` is empty.
        """
        given: str = getattr(section(self.preset, name), "start_from", "")
        if given in STAGES and given not in POLICIES:
            raise ConfigError(
                f"{name}.start_from is {given!r}, which makes no model; there are {', '.join(POLICIES)}, or a folder"
            )
        if given or name == "pretrain":
            return given
        before = self.policies(name)
        if not before:
            raise ConfigError(
                f"{name}.start_from is empty and no stage before {name} makes a model; name a Hugging Face folder (--model DIR)"
            )
        return before[-1]

    def policies(self, name: str) -> tuple[str, ...]:
        """Policy stages of this run that come before a stage."""
        order = list(STAGES)
        place = self.names.index(name) if name in self.names else None
        earlier = self.names[:place] if place is not None else [n for n in self.names if order.index(n) < order.index(name)]
        return tuple(stage for stage in earlier if stage in POLICIES)

    def reads(self, name: str) -> tuple[str, ...]:
        """Finished stages whose folders a stage reads, in the order of the table."""
        stage, settings = STAGES[name], section(self.preset, name)
        wanted = {other for other in stage.reads if other in self.names}
        if not getattr(settings, "judged_by_stage", True):
            wanted.discard("reward")
        if "data" in stage.own and getattr(settings, "data", OWN) == OWN:
            wanted.add("corpus")
        if stage.starts and self.start(name) in STAGES:
            wanted.add(self.start(name))
        if stage.compares and not getattr(settings, "models", ()):
            wanted |= set(self.policies(name))
        return tuple(other for other in STAGES if other in wanted)


def chain(preset: Preset, domain: Domain | None) -> Chain:
    """The run that a preset describes.

    Raises:
        ConfigError: the pipeline names an unknown stage or one twice.
    """
    wanted = preset.pipeline or tuple(name for name, stage in STAGES.items() if stage.usual)
    for name in wanted:
        if name not in STAGES:
            raise ConfigError(f"pipeline: {name!r} is no stage; there are {', '.join(STAGES)}")
        if wanted.count(name) > 1:
            raise ConfigError(f"pipeline: {name} stands there twice; a run has one folder for each stage")
    left_out = {name: reason for name in wanted if (reason := lacks(name, preset, domain))}
    return Chain(preset, domain, tuple(name for name in wanted if name not in left_out), left_out)


def section(preset: Preset, name: str) -> Any:
    """A stage's own settings."""
    return getattr(preset, STAGES[name].section)


#: Behind what `lacks` says.
WAY_OUT = (
    "name a file, add it to the domain's folder, or name a domain that has it (`--domain`, TENET_DOMAIN, `domain:` in the preset)"
)


def lacks(name: str, preset: Preset, domain: Domain | None) -> str:
    """Why a stage cannot run with what is there; "" when it can."""
    settings = section(preset, name)
    for key, part in STAGES[name].own.items():
        value = getattr(settings, key)
        if value not in ("", OWN, ()):
            continue
        if domain is None:
            return f"no domain, and {STAGES[name].section}.{key} names no data"
        if not getattr(domain, part):
            return f"domain {domain.name} has no {part}, and {STAGES[name].section}.{key} names no data"
    return ""


# --- what a result rests on ------------------------------------------------------------------------------------------


def foreign_settings(name: str, preset: Preset) -> dict[str, Any]:
    """Settings of other sections that a stage declares to read, by dotted name."""
    found = {}
    for dotted in STAGES[name].foreign:
        value: Any = preset
        for part in dotted.split("."):
            value = getattr(value, part)
        found[dotted] = value
    return found


def input_files(name: str, chained: Chain) -> list[InputFile]:
    """Every file that the settings of a stage, or the parts of the domain that it reads, name on disk."""
    stage, preset, domain = STAGES[name], chained.preset, chained.domain
    files = [input_file(key, path) for key, path in _paths(stage.section, section(preset, name))]
    if stage.starts and (start := chained.start(name)) and start not in STAGES and start not in PACKAGED:
        files.append(input_file(f"{name}.start_from", Path(start)))
    if domain is not None:
        files += [input_file(f"domain.{key}", path, domain.licence) for key, path in domain_paths(domain, stage.domain)]
    return files + [input_file(f"{key}: {path.name}", path) for key, path in _named_inside(stage, section(preset, name), domain)]


def _named_inside(stage: Any, settings: Any, domain: Domain | None) -> Iterator[tuple[str, Path]]:
    """Files that the stage's constitution, goals, prompts or tasks name: rows that prompts are filled from, lists of
    goals, code of verifiers, rows of tasks."""
    from tenet.constitution import principles
    from tenet.evaluate import task_rows, tasks
    from tenet.redteam import goals_file

    for key, named_files in (("constitution", principles.named_files), ("goals", goals_file.named_files)):
        if key in stage.own:
            given = getattr(settings, key)
            path = getattr(domain, key, None) if given in ("", OWN) else _local(given)
            yield from ((f"{stage.section}.{key}", one) for one in (named_files(path) if path is not None else ()))
    if stage.own.get("data") == "prompts":
        # A domain's files are absolute; its other values are names of data sets, or rows that code makes.
        own = domain.prompts if domain is not None and Path(domain.prompts).is_absolute() else ""
        if path := _local(own if settings.data == OWN else settings.data):
            yield from ((f"{stage.section}.data", one) for one in function_files(str(path)))
    for part in getattr(settings, "rewards", ()):
        if part.principle and part.constitution in ("", OWN) and domain is not None and domain.constitution is not None:
            yield f"{stage.section}.rewards {part.label}", domain.constitution
    if "tasks" in stage.domain:
        mine = domain.tasks if domain is not None else ()
        asked = [one.stem for one in mine] if OWN in settings.tasks else []
        folder = Path(settings.data) if settings.data else None
        for name in tasks.expand([*asked, *(one for one in settings.tasks if one != OWN)]):
            yield from ((f"{stage.section}.tasks: {name}", one) for one in task_rows.named_files(name, mine, folder))


def domain_paths(domain: Domain, parts: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """The files behind parts of a domain."""
    for part in parts:
        value = getattr(domain, part)
        if part == "sources":
            yield from ((f"{part}: {Path(one.name).name}", Path(one.name)) for one in value if one.kind == "folder")
        elif isinstance(value, Path):
            yield part, value
        elif part == "tasks":
            yield from ((f"{part}: {path.stem}", path) for path in value)
        elif isinstance(value, str) and Path(value).is_absolute():
            yield part, Path(value)


def domain_values(domain: Domain | None, parts: Iterable[str]) -> dict[str, Any]:
    """Parts of a domain that are no files; a folder of documents by its name alone, since its content is hashed."""
    found: dict[str, Any] = {}
    for part in parts if domain is not None else ():
        value = getattr(domain, part)
        if part == "sources":
            found[part] = [dataclasses.replace(one, name=Path(one.name).name) if one.kind == "folder" else one for one in value]
        elif part != "tasks" and not isinstance(value, Path) and not (isinstance(value, str) and Path(value).is_absolute()):
            found[part] = value
    return {f"domain.{part}": value for part, value in found.items()}


def _paths(prefix: str, settings: Any) -> Iterator[tuple[str, Path]]:
    """Fields that may name a file (marked with `metadata={"path": True}`) and do."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        key = f"{prefix}.{field.name}"
        if field.metadata.get("path") == "inputs":
            yield from ((f"{key}: {one}", path) for one in value for path in [_local(one)] if path)
        elif field.metadata.get("path") == "call":
            yield from ((key, path) for path in [_code(value)] if path)
        elif field.metadata.get("path") and isinstance(value, str) and (path := _local(value)):
            yield key, path
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for number, one in enumerate(value):
                yield from _paths(f"{key} {getattr(one, 'label', number)}", one)
        elif dataclasses.is_dataclass(value):
            yield from _paths(key, value)


def _code(call: str) -> Path | None:
    """The file that `file.py:name` or `module:name` takes its code from."""
    place = call.rpartition(":")[0]
    if not place or place.endswith(".py"):
        return _local(place)
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):  # the stage says what is wrong with it
        return None
    return _local(found.origin) if found is not None and found.has_location else None


def _local(value: Any) -> Path | None:
    if dataclasses.is_dataclass(value):
        value = getattr(value, "name", "") if getattr(value, "kind", "") == "folder" else ""
    path = Path(str(value)) if value and value != OWN else None
    return path if path is not None and path.exists() else None
