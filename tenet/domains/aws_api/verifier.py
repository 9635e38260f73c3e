"""The domain's own verifier: a tool call that asks AWS for something, judged by botocore's validator and by the values
that were asked for."""

from __future__ import annotations

from pathlib import Path

from tenet.domains.aws_api.validator import verify_request
from tenet.errors import ConfigError
from tenet.verifiers import Row, ToolCall, Verifier


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
