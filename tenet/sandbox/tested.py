"""The side of the tested code: it runs the program, then answers what the tests ask of it."""

from __future__ import annotations

import operator
import sys
import types
from collections.abc import Callable
from typing import Any

from tenet.sandbox.dialogue import Dialogue, Left, Message, again, told
from tenet.sandbox.values import decode, encode

FILE = "<answer>"
#: What can be asked of an object.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, args, options: function(*args, **options),
    "getattr": getattr,
    "setattr": setattr,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "contains": operator.contains,
    "eq": operator.eq,
    "iter": iter,
    "next": next,
    "len": len,
    "str": str,
    "repr": repr,
    "bool": bool,
}


class Tested:
    """A program that is called from outside.

    Args:
        descriptor: of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self.dialogue = Dialogue(descriptor, self._answer)
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.module = types.ModuleType("answer")

    def run(self, program: str) -> None:
        """Run the program, say how that went, and answer until nobody asks any more."""
        sys.modules[self.module.__name__] = self.module
        try:
            exec(compile(program, FILE, "exec", dont_inherit=True), self.module.__dict__)
            report: Message = {"value": None}
        except BaseException as error:
            report = told(error, FILE)
        self.dialogue.send(report)
        self.dialogue.answer_all()

    def _answer(self, question: Message) -> Message:
        try:
            if question["ask"] == "global":
                if (name := question["name"]) not in self.module.__dict__:
                    raise NameError(f"name {name!r} is not defined")
                return {"value": encode(self.module.__dict__[name], self._keep)}
            return self._apply(question["ask"], question["with"])
        except Left:
            raise
        except BaseException as error:
            return told(error, FILE)

    def _apply(self, operation: str, sent: Any) -> Message:
        arguments = decode(sent, self._find)
        try:
            answer = {"value": encode(_OPERATIONS[operation](*arguments), self._keep)}
        except Left:
            raise
        except BaseException as error:
            answer = told(error, FILE)
        # What the call changed of its arguments is changed over there as well.
        if operation == "call" and (after := encode(arguments[1:], self._keep)) != sent[1:]:
            answer["after"] = after
        return answer

    def _keep(self, value: Any) -> int:
        number = getattr(value, "_of_the_tests", None) if isinstance(value, types.FunctionType) else None
        if isinstance(number, int):
            return number
        # What is kept stays, so that an address means one object.
        known = self.numbers.setdefault(id(value), len(self.objects))
        if known == len(self.objects):
            self.objects.append(value)
        return known

    def _find(self, number: int) -> Any:
        """An object of ours, or, below 0, a function of the tests."""
        if number >= 0:
            return self.objects[number]

        def ours(*args: Any, **options: Any) -> Any:
            reply = self.dialogue.ask({"ask": "callback", "number": number, "with": encode([list(args), options], self._keep)})
            if "raised" in reply:
                raise again(reply["raised"])
            return decode(reply["value"], self._find)

        ours._of_the_tests = number  # type: ignore[attr-defined]
        return ours
