"""The endpoint as a client sees it: an ordinary boto3, pointed at another address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenet.serving.access.credentials import Keys


def client(endpoint: str, keys: Keys, service: str = "bedrock-runtime", verify: str | None = None, **settings: Any) -> Any:
    """An ordinary `boto3` client of the endpoint.

    Args:
        endpoint: its address.
        keys: a key pair.
        service: bedrock-runtime, or bedrock for the control plane.
        verify: file with the certificate of an endpoint that signed its own.
        settings: go to botocore's Config.
    """
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        verify=verify,
        # An API key in the environment would take the place of these keys, and boto3 sends none over http.
        config=Config(**{"signature_version": "v4", "retries": {"total_max_attempts": 1}, "read_timeout": 300, **settings}),
    )


def stream_answer(endpoint: str, keys: Keys, model_id: str, question: str, max_tokens: int = 96) -> Iterator[str]:
    """Ask with ConverseStream and give the text as it comes."""
    reply = client(endpoint, keys).converse_stream(
        modelId=model_id,
        messages=[{"role": "user", "content": [{"text": question}]}],
        inferenceConfig={"maxTokens": max_tokens, "temperature": 0.0},
    )
    for event in reply["stream"]:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"].get("text", "")


def errors() -> tuple[type[Exception], ...]:
    """What a call may raise: a refusal, or no answer at all."""
    from botocore.exceptions import BotoCoreError, ClientError

    return ClientError, BotoCoreError
