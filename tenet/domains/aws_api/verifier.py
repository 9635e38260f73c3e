"""The domain's own verifier: a tool call that asks AWS for something, judged by botocore's validator and by the values
that were asked for; and the same as a conversation in which a refused call may be mended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tenet.domains.aws_api.validator import verify_request
from tenet.errors import ConfigError
from tenet.posttrain.environments import Message, Step
from tenet.verifiers import Calls, Row, ToolCall, Verifier


class AwsRequest(ToolCall):
    """Parts as those of `tool_call`; `verified` is what botocore says. The row brings `service`, `operation` and
    `expected`."""

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        if not (
            isinstance(row.get("service"), str)
            and isinstance(row.get("operation"), str)
            and isinstance(row.get("expected"), dict)
        ):
            raise ValueError("aws_request: the row needs `service`, `operation` and `expected` (the arguments that are right)")
        return {"kind": spec["kind"]}

    def expected(self, spec: Row, row: Row) -> tuple[str, Row]:
        return row["operation"], row["expected"]

    def invalid(self, spec: Row, row: Row, arguments: Row) -> list[str]:
        try:
            return verify_request(row["service"], row["operation"], arguments)
        except ConfigError as error:  # an operation that does not exist is this row's error, not the end of a training
            return [str(error)]


VERIFIERS: dict[str, Verifier] = {"aws_request": AwsRequest()}


class AwsTools:
    """Requests to AWS as an environment of several turns: botocore's validator answers a call that AWS would refuse, and
    the model may try again. Nothing is sent.

    What is paid is the verifier's score of the last call, so one that was mended is worth what a right one is. The row
    brings `service`, `operation`, `expected` and its tools.
    """

    tools: Sequence[Row] = ()

    def reset(self, row: Row) -> list[Message]:
        """The row's prompt.

        Raises:
            ValueError: the row is no request.
        """
        self.row, self.judge, self.paid = row, AwsRequest(), dict[str, float]()
        self.spec = self.judge.read({"kind": "aws_request"}, row, None)
        self.tools = row.get("tools", ())
        return list(row["prompt"])

    def step(self, text: str, calls: Calls) -> Step:
        """Done once a call is one that AWS would take, or when none was made; else the validator's words."""
        verdict = self.judge.verify(self.spec, self.row, text, calls)
        scored = {"score": verdict.score, **verdict.parts}
        # Steps add up: each pays what it changed.
        parts = {name: value - self.paid.get(name, 0.0) for name, value in scored.items()}
        self.paid = scored
        if verdict.parts["verified"] or not calls:
            return Step(done=True, parts=parts)
        said = json.dumps({"error": verdict.errors or ["the request is not valid"]}, ensure_ascii=False)
        return Step([{"role": "tool", "content": said}], parts=parts)
