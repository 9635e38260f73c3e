"""A chat in the terminal through ConverseStream, with the keys that boto3 finds in the environment."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

HELP = "/system TEXT sets the system prompt, /new starts again, /quit (or Ctrl-D) ends; Ctrl-C stops an answer."


def chat(endpoint: str, model_id: str, system: str = "", max_tokens: int = 256, temperature: float = 0.0) -> int:
    """Ask and answer until the end of the input.

    Args:
        endpoint: its address.
        model_id: which model.
        system: system prompt.
        max_tokens, temperature: of each answer.

    Returns:
        exit code: 1 when a question was not answered, which a pipe must be able to tell.
    """
    import boto3

    boto = boto3.client(
        "bedrock-runtime",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(read_timeout=600, retries={"mode": "standard"}),
    )
    turns: list[dict[str, Any]] = []
    failed = 0
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  line editing and history for input()
        print(f"{model_id} at {endpoint}\n{HELP}")
    while (text := _read()) is not None:
        word, _, rest = text.partition(" ")
        if word == "/quit":
            break
        if word == "/new":
            turns.clear()
        elif word == "/system":
            system = rest
        elif word.startswith("/"):
            print(HELP)
        elif text.strip():
            turns.append({"role": "user", "content": [{"text": text}]})
            request = {
                "modelId": model_id,
                "messages": turns,
                "inferenceConfig": {"maxTokens": max_tokens, "temperature": temperature},
            }
            try:
                answer = _answer(boto, request | ({"system": [{"text": system}]} if system else {}))
            except (ClientError, BotoCoreError) as error:
                print(f"{error}{_way_out(error, endpoint)}", file=sys.stderr)
                answer, failed = "", 1
            if answer:
                turns.append({"role": "assistant", "content": [{"text": answer}]})
            else:
                turns.pop()
    return failed


def _way_out(error: Exception, endpoint: str) -> str:
    """What to do about an error whose own words do not say it."""
    if isinstance(error, NoCredentialsError):
        return "; paste the `export AWS_...` lines that `tenet serve` printed at its first start"
    if "HTTPS" in str(error) and endpoint.startswith("http://"):
        return "; an API key is sent only over TLS: start `tenet serve --tls self-signed`, or paste the key pair instead"
    return ""


def _read() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "")
    except (EOFError, KeyboardInterrupt):
        return None


def _answer(boto: Any, request: dict[str, Any]) -> str:
    """Print an answer as it comes; what was said until Ctrl-C counts."""
    text, start, first = "", time.perf_counter(), 0.0
    stream = boto.converse_stream(**request)["stream"]
    try:
        for event in stream:
            first = first or time.perf_counter()
            piece = event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
            print(piece, end="", flush=True)
            text += piece
            if "metadata" in event:
                usage, seconds = event["metadata"]["usage"], time.perf_counter() - first
                rate = usage["outputTokens"] / seconds if seconds else 0.0
                told = f"{usage['inputTokens']} in, {usage['outputTokens']} out, first {1000 * (first - start):.0f} ms, {rate:.1f} tok/s"
                print(flush=True)
                print(f"[{told}]", file=sys.stderr)
    except KeyboardInterrupt:
        print("\n[stopped]", file=sys.stderr)
    finally:
        stream.close()
    return text
