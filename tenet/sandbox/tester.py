"""The side of the tests: they run here, in a process that never runs a line of the tested code, and reach it through
stand-ins that carry each call over."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from tenet.sandbox.dialogue import Dialogue, Left, Message, again, told
from tenet.sandbox.values import decode, encode, overwrite

FILE = "<tests>"


class StandIn:
    """An object of the tested code. It is equal to another one if that one says so, and to no value of ours."""

    __slots__ = ("_tenet_number", "_tenet_tests")

    def __init__(self, tests: Tests, number: int) -> None:
        object.__setattr__(self, "_tenet_tests", tests)
        object.__setattr__(self, "_tenet_number", number)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._tenet_tests.call(self, args, options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._tenet_tests.ask("getattr", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._tenet_tests.ask("setattr", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._tenet_tests.ask("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._tenet_tests.ask("setitem", self, key, value)

    def __contains__(self, value: Any) -> bool:
        return bool(self._tenet_tests.ask("contains", self, value))

    def __iter__(self) -> Any:
        return self._tenet_tests.ask("iter", self)

    def __next__(self) -> Any:
        return self._tenet_tests.ask("next", self)

    def __len__(self) -> int:
        return int(self._tenet_tests.ask("len", self))

    def __bool__(self) -> bool:
        return self._tenet_tests.ask("bool", self) is True

    def __str__(self) -> str:
        return str(self._tenet_tests.ask("str", self))

    def __repr__(self) -> str:
        return str(self._tenet_tests.ask("repr", self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StandIn) and self._tenet_tests.ask("eq", self, other) is True

    def __hash__(self) -> int:
        return hash(self._tenet_number)


class Tests:
    """Tests of a program over there.

    Args:
        descriptor: of the socket.
        wanted: `prefix` (code that stands before the answer and can be trusted), `names` (what certainly is the answer's,
            even where Python has the same name), `setup`, `sources` (one a test), and what `open_names` says of them all:
            `open`, `modules`.
    """

    def __init__(self, descriptor: int, wanted: Message) -> None:
        self.dialogue = Dialogue(descriptor, self._called_back)
        self.wanted = wanted
        self.functions: list[Callable[..., Any]] = []
        self.space: dict[str, Any] = {"__name__": "tests"}
        self.left: Left | None = None

    def run(self) -> Message:
        """What came out: {"passed": tests that passed, "of": all, "runs": the answer did, "left": it ended before its time,
        "reason": why not all passed}."""
        sources = self.wanted["sources"]
        reasons: list[str] = []
        try:
            self._value(self.dialogue.receive)
            self._prepare()
        except BaseException as error:
            stopped = self._why(error)
        else:
            stopped = ""
            reasons = [self._one(source) for source in sources]
        return {
            "passed": sum(not reason for reason in reasons),
            "of": len(sources),
            "runs": not stopped,
            "left": self.left is not None,
            "reason": stopped or next(filter(None, reasons), ""),
        }

    def _prepare(self) -> None:
        """Names of the tests: those of the prefix, then those of the answer, then what the setup makes of them."""
        if self.wanted["prefix"]:
            exec(compile(self.wanted["prefix"], "<prefix>", "exec", dont_inherit=True), self.space)
        for name in set(self.wanted["modules"]) - self.space.keys():
            self.space[name] = importlib.import_module(name)
        for name in sorted({*self.wanted["names"], *(set(self.wanted["open"]) - self.space.keys())}):
            with contextlib.suppress(NameError):
                self.space[name] = self._value(functools.partial(self.dialogue.ask, {"ask": "global", "name": name}))
        exec(compile(self.wanted["setup"], FILE, "exec", dont_inherit=True), self.space)

    def _one(self, source: str) -> str:
        try:
            exec(compile(source, FILE, "exec", dont_inherit=True), self.space)
        except BaseException as error:
            return self._why(error, source)
        return str(self.left or "")  # a bare `except` of a test may have taken it

    def _why(self, error: BaseException, source: str = "") -> str:
        if self.left:
            return str(self.left)
        name, words, line = getattr(error, "raised_by_answer", (type(error).__name__, str(error), 0))
        own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
        statement = source.splitlines()[own[-1] - 1].strip() if own and own[-1] and source else ""
        place = f" (line {line} of the answer)" if line else ""
        said = f"{name}{': ' if words else ''}{words}{place}"
        return f"{said} in `{statement}`" if statement else said

    # --- questions ---------------------------------------------------------------------------------------------------

    def ask(self, operation: str, *arguments: Any) -> Any:
        sent = encode(list(arguments), self._keep)
        return self._value(functools.partial(self.dialogue.ask, {"ask": operation, "with": sent}))

    def call(self, function: StandIn, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        sent = encode([function, list(args), options], self._keep)

        def answer() -> Message:
            reply = self.dialogue.ask({"ask": "call", "with": sent})
            if "after" in reply:
                positional, named = self._decoded(reply["after"])
                for old, new in [*zip(args, positional, strict=False), *((options[name], named.get(name)) for name in options)]:
                    overwrite(old, new)
            return reply

        return self._value(answer)

    def _value(self, answer: Callable[[], Message]) -> Any:
        """What the other side answers; that it has left is remembered."""
        try:
            reply = answer()
            if "raised" in reply:
                raise again(reply["raised"])
            return self._decoded(reply.get("value"))
        except Left as left:
            self.left = left
            raise

    def _decoded(self, sent: Any) -> Any:
        try:
            return decode(sent, self._find)
        except Exception:
            raise Left("what it said cannot be read") from None

    def _called_back(self, question: Message) -> Message:
        """The tested code calls a function that a test handed to it; nothing else of ours can be reached from there."""
        try:
            args, options = self._decoded(question["with"])
            return {"value": encode(self.functions[-1 - question["number"]](*args, **options), self._keep)}
        except Exception as error:
            return told(error, FILE)

    def _keep(self, value: Any) -> int:
        if isinstance(value, StandIn):
            return int(value._tenet_number)
        if not callable(value):
            raise TypeError(f"the tests hand over {type(value).__name__}, which is neither data nor a function")
        self.functions.append(value)
        return -len(self.functions)

    def _find(self, number: int) -> Any:
        return StandIn(self, number) if number >= 0 else self.functions[-1 - number]


@functools.lru_cache(4096)
def open_names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Found by the client, which meets the same tests again. Names that a source reads and does not make itself, built-in ones aside; and which of them are modules of Python's
    library by the way they are used (`math.pi`, not `math(2)`)."""
    read, made, called = set[str](), set[str](), set[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that mean nothing
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called.add(node.func.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            made.add(node.name)
    read -= made | set(dir(builtins))
    return frozenset(read), frozenset(read & sys.stdlib_module_names - called)
