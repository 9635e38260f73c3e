"""A calculator as an environment: the model may call a tool that computes, reads the result, and answers.

    {"prompt": "What is 37 x 48?", "answer": 1776}

An answer without a call ends the conversation and is paid 1 if its last number is the row's `answer`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from tenet.posttrain.environments import Message, Step
from tenet.rows import Row
from tenet.verifiers import VERIFIERS, Calls

#: The tool as templates show it.
TOOL: Row = {
    "type": "function",
    "function": {
        "name": "calculate",
        "description": "Computes + - * / and brackets.",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}
#: Longer ones are no sums that anybody asked for.
MOST_CHARACTERS = 200
_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


class Calculator:
    """See this file's head."""

    tools: Sequence[Row] = (TOOL,)

    def reset(self, row: Row) -> list[Message]:
        """The row's prompt.

        Raises:
            ValueError: the row has no `answer`.
        """
        self.row, self.right = row, VERIFIERS["number"].read({"kind": "number"}, row, None)
        return list(row["prompt"])

    def step(self, text: str, calls: Calls) -> Step:
        """Results of the calls; or the end, paid if the last number is right."""
        if not calls:
            verdict = VERIFIERS["number"].verify(self.right, self.row, text, calls)
            return Step(done=True, parts={"score": verdict.score})
        results = [_result(call) for call in calls]
        good = sum(found for _, found in results)
        return Step([{"role": "tool", "content": said} for said, _ in results], parts={"computed": float(good)})


def _result(call: Row) -> tuple[str, bool]:
    """What the tool says to a call, and whether it could compute."""
    if call["name"] != "calculate":
        return f"error: there is no tool {call['name']}; call calculate", False
    try:
        return computed(str(call["arguments"].get("expression", ""))), True
    except (ValueError, ArithmeticError, SyntaxError, RecursionError) as error:
        return f"error: {error}", False


def computed(expression: str) -> str:
    """Value of an expression of numbers, + - * / // % and brackets.

    Raises:
        ValueError: anything else stands in it. ArithmeticError: it has no value. SyntaxError: it is no expression.
    """
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(f"the expression has more than {MOST_CHARACTERS} characters")
    value = _value(ast.parse(expression.replace("×", "*").strip(), mode="eval").body)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ArithmeticError("the result is too large")
        return f"{value:.10g}"
    return str(value)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_value(node.operand))
    raise ValueError(f"{ast.unparse(node)[:40]!r} is no arithmetic")
