"""Read a domain's folder: `domain.yaml` and the files that it names, every key and path checked before anything starts.

    name: my_assistant
    about: the handbook of the pump station
    sources: [{kind: folder, name: documents}]
    conversations: conversations.jsonl        # a file here, the name of a data set, or rows.py
    constitution: constitution.yaml
    tasks: [tasks/name_the_section.yaml]

A key that is left out takes the file of its usual name where there is one (conversations.jsonl, constitution.yaml,
tasks/*.yaml, rows.py); a key with an empty text means that the part is missing. Paths are relative to the folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from tenet.domains.domain import BY_CODE, KINDS, Domain, DomainCode, Persona, Probe, Words
from tenet.errors import ConfigError
from tenet.settings.build import build
from tenet.settings.corpus import COMMON_KINDS, SourceConfig

BUILT_IN = Path(__file__).resolve().parent
FILE = "domain.yaml"
#: Names that end so are files; everything else that is no path is the name of a data set.
ROW_FILES = (".jsonl", ".json", ".csv", ".parquet", ".gz", ".zst")
_TEXTS = ("name", "about", "language", "licence", "key_task", "conversations", "preferences", "prompts")
_SECTIONS: dict[str, type] = {"persona": Persona, "words": Words, "probe": Probe}
_FILES = {"constitution": "constitution.yaml", "goals": "goals.yaml", "rows": BY_CODE}
_KEYS = (*_TEXTS, *_SECTIONS, *_FILES, "sources", "sample_prompts", "packages", "tasks")


def domain_names() -> list[str]:
    """Domains that come with the package, sorted."""
    return sorted(path.parent.name for path in BUILT_IN.glob(f"*/{FILE}"))


def load_domain(name_or_path: str) -> Domain:
    """A built-in domain by name, or the one that a folder (or its domain.yaml) describes.

    Raises:
        ConfigError: no such domain, or a key or file of it is wrong; names the file, the key, the value and the way
            out.
    """
    folder = _folder(name_or_path)
    return _Reader(folder, _content(folder / FILE)).domain()


def _folder(name_or_path: str) -> Path:
    if name_or_path in domain_names():
        return BUILT_IN / name_or_path
    path = Path(name_or_path).expanduser()
    path = path.parent if path.name == FILE else path
    if (path / FILE).is_file():
        return path.resolve()
    known = domain_names()
    problem = f"the folder has no {FILE}" if path.is_dir() else "no such domain" + _nearest(name_or_path, known)
    raise ConfigError(
        f"--domain {name_or_path}: {problem}; built in are {', '.join(known) or 'none'}, or give a folder that "
        "`tenet new NAME --documents DIR` wrote"
    )


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}; write keys and values, e.g. `name: {path.parent.name}`")
    return content


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


class _Reader:
    """Checks one domain.yaml key by key; every message begins with the file."""

    def __init__(self, folder: Path, content: dict[str, Any]) -> None:
        self.folder, self.file, self.content = folder, folder / FILE, content

    def domain(self) -> Domain:
        self._known(self.content, _KEYS, "")
        texts = {key: self._text(key, self.content[key]) for key in _TEXTS if key in self.content}
        rows = self._file("rows", BY_CODE)
        sections = {key: self._section(key, kind) for key, kind in _SECTIONS.items() if key in self.content}
        domain = Domain(
            **{"name": self.folder.name, **texts, **sections, **{kind: self._rows_of(kind, rows) for kind in KINDS}},
            folder=self.folder,
            sources=self._sources(texts.get("licence", "")),
            sample_prompts=tuple(self._list("sample_prompts")),
            packages=tuple(self._list("packages")),
            constitution=self._file("constitution", "constitution.yaml"),
            goals=self._file("goals", "goals.yaml"),
            tasks=self._tasks(),
            rows=rows,
        )
        self._check_key_task(domain)
        return domain

    def _wrong(self, key: str, found: str, way_out: str) -> ConfigError:
        return ConfigError(f"{self.file}: {key}: {found}; {way_out}")

    def _known(self, values: Mapping[Any, Any], keys: Iterable[str], section: str) -> None:
        for key in values:
            if key not in keys:
                hint = _nearest(str(key), keys).removeprefix("; ") or f"known keys are {', '.join(keys)}"
                raise self._wrong(f"{section}{key}", "unknown key", hint)

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(
                key, f"is {value!r}, a {type(value).__name__}", "write a text (in quotes where YAML reads it otherwise)"
            )
        if key == "name" and (not value or not value.replace("_", "").replace("-", "").isalnum()):
            raise self._wrong(key, f"is {value!r}", "use letters, digits, _ and - only")
        return value

    def _section(self, key: str, kind: type) -> Any:
        values = self.content[key]
        if not isinstance(values, dict):
            raise self._wrong(
                key, f"is {values!r}", f"write keys and values: {', '.join(f.name for f in dataclasses.fields(kind))}"
            )
        self._known(values, [f.name for f in dataclasses.fields(kind)], f"{key}.")
        given = {name: self._text(f"{key}.{name}", value) for name, value in values.items() if name != "tool"}
        if values.get("tool") is not None:
            given["tool"] = self._tool(values["tool"])
        if kind is Words:  # one word given, its plural is the usual one
            given |= {f"{name}s": given.get(f"{name}s", f"{given[name]}s") for name in ("section", "group") if name in given}
        return kind(**given)

    def _tool(self, value: Any) -> Any:
        spec = value.get("toolSpec") if isinstance(value, dict) else None
        if not isinstance(spec, dict) or not isinstance(spec.get("name"), str) or "inputSchema" not in spec:
            raise self._wrong(
                "probe.tool", f"is {value!r}", "write {toolSpec: {name: ..., description: ..., inputSchema: {json: ...}}}"
            )
        return value

    def _list(self, key: str) -> list[str]:
        values = self.content.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._wrong(key, f"is {values!r}", "write a list of texts")
        return values

    def _sources(self, licence: str) -> tuple[SourceConfig, ...]:
        values = self.content.get("sources") or []
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self._wrong("sources", f"is {values!r}", "write a list, e.g. [{kind: folder, name: documents}]")
        found = []
        for number, value in enumerate(values):
            if value.get("kind") == "folder":
                value = {"licence": licence, **value}
                value["name"] = str(self._path(f"sources[{number}].name", str(value.get("name", ""))))
            self._known_kind(f"sources[{number}].kind", value.get("kind"))
            found.append(build(SourceConfig, value, f"{self.file}: sources[{number}]"))
        return tuple(found)

    def _known_kind(self, key: str, kind: Any) -> None:
        """A kind that is not common must be one of rows.py, which is not imported before it is needed."""
        if kind not in COMMON_KINDS and not (self.folder / BY_CODE).is_file():
            hint = _nearest(str(kind), COMMON_KINDS).removeprefix("; ")
            raise self._wrong(
                key, f"is {kind!r}", hint or f"there are {', '.join(COMMON_KINDS)}, and those of a {BY_CODE} (READERS)"
            )

    def _path(self, key: str, value: str) -> Path:
        path = (self.folder / Path(value).expanduser()).resolve()
        if not value or not path.exists():
            there = [p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if not p.name.startswith(".")]
            hint = _nearest(value, there).removeprefix("; ")
            raise self._wrong(
                key, f"{value!r} does not exist in {self.folder}", hint or "give the path of what exists, or take the key out"
            )
        return path

    def _file(self, key: str, usual: str) -> Path | None:
        if key not in self.content:
            return self.folder / usual if (self.folder / usual).is_file() else None
        value = self._text(key, self.content[key] if self.content[key] is not None else "")
        return self._plain_file(key, value) if value else None

    def _plain_file(self, key: str, value: str) -> Path:
        path = self._path(key, value)
        if not path.is_file():
            raise self._wrong(key, f"{value!r} is a folder", "give the path of a file")
        return path

    def _rows_of(self, kind: str, rows: Path | None) -> str:
        if kind not in self.content:
            usual = self.folder / f"{kind}.jsonl"
            return str(usual) if usual.is_file() else ""
        value = str(self.content[kind])
        if value == BY_CODE:
            if rows is None:
                raise self._wrong(
                    kind, f"is {BY_CODE}, but the folder has none", f"write {BY_CODE} with make_rows, or name a file"
                )
            return BY_CODE
        if value.endswith(ROW_FILES) or value.startswith((".", "/", "~")) or (value and (self.folder / value).exists()):
            return str(self._path(kind, value))
        return value

    def _tasks(self) -> tuple[Path, ...]:
        if "tasks" not in self.content:
            return tuple(sorted(self.folder.glob("tasks/*.yaml")))
        return tuple(self._plain_file(f"tasks[{n}]", value) for n, value in enumerate(self._list("tasks")))

    def _check_key_task(self, domain: Domain) -> None:
        names = [path.stem for path in domain.tasks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise self._wrong("tasks", f"two files are called {sorted(twice)[0]!r}", "give each task its own name")
        if domain.key_task and domain.key_task not in names:
            hint = _nearest(domain.key_task, names).removeprefix("; ") or f"its tasks are {', '.join(names) or 'none'}"
            raise self._wrong("key_task", f"{domain.key_task!r} is none of the domain's tasks", hint)


# --- code -------------------------------------------------------------------------------------------------------------


def load_code(domain: Domain) -> DomainCode:
    """Import rows.py of a domain and take what it offers; nothing where it has none.

    Raises:
        ConfigError: it cannot be imported, or what it offers has another type.
    """
    if domain.rows is None:
        return DomainCode()
    module = _module(domain.rows)
    offers: dict[str, Any] = {
        name: getattr(module, name, None) for name in ("make_rows", "make_tables", "make_goals", "check_source")
    }
    for name, value in offers.items():
        if value is not None and not callable(value):
            raise ConfigError(f"{domain.rows}: {name} is a {type(value).__name__}; it must be a function")
    if offers["make_rows"] is None and BY_CODE in (domain.conversations, domain.preferences, domain.prompts):
        raise ConfigError(f"{domain.rows}: has no function make_rows, which {FILE} asks for; write make_rows(request)")
    offers["environment"] = getattr(module, "ENVIRONMENT", None)
    if offers["environment"] is not None and not callable(offers["environment"]):
        raise ConfigError(f"{domain.rows}: ENVIRONMENT must be what makes an environment when it is called, e.g. a class")
    tables: dict[str, Any] = {name.lower(): getattr(module, name, {}) for name in ("VERIFIERS", "READERS")}
    for name, value in tables.items():
        if not isinstance(value, Mapping) or not all(callable(one) or hasattr(one, "verify") for one in value.values()):
            raise ConfigError(f"{domain.rows}: {name.upper()} must be a dictionary of functions by name")
    return DomainCode(**offers, **tables)


def _module(path: Path) -> ModuleType:
    """Built-in code by its name in the package, so that it is one module however it is reached; a folder's own from its
    file."""
    try:
        if path.parent.parent == BUILT_IN:
            return importlib.import_module(f"tenet.domains.{path.parent.name}.{path.stem}")
        name = f"tenet_domain_{path.parent.name.replace('-', '_')}_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None  # a .py file always has one
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # whatever a user's file does wrong is an error of that file
        raise ConfigError(f"{path}: cannot be imported ({type(error).__name__}: {error}); mend it, or take `rows` out") from None
