"""Is a request one that AWS would accept? Answered by botocore's own parameter validator, without network, in a
millisecond.

It knows parameter names, which are required, their types and lowest values; it does not know patterns or enumerations,
so those are checked here. `expected` adds what the validator cannot know: the values that the user asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tenet.domains.aws_api import service_models
from tenet.errors import ConfigError
from tenet.verifiers.structured import differences


@functools.lru_cache(maxsize=512)
def _service_model(service: str) -> Any:
    from botocore.model import ServiceModel

    return ServiceModel(service_models.service_model(service), service)


def verify_request(service: str, operation: str, arguments: Any, expected: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong with a request; an empty list is a valid one.

    Args:
        service: botocore's name, e.g. "dynamodb".
        operation: e.g. "DeleteTable".
        arguments: what the model wrote; anything but an object is an error of the model, not of the caller.
        expected: values that the user asked for; each must be there and no other argument may be.

    Raises:
        ConfigError: the service or operation does not exist.
    """
    from botocore.model import OperationNotFoundError
    from botocore.validate import ParamValidator

    try:
        shape = _service_model(service).operation_model(operation).input_shape
    except OperationNotFoundError:
        raise ConfigError(
            f"operation {operation!r} is not in service {service!r} of botocore {service_models.version()}"
        ) from None
    if not isinstance(arguments, dict):
        return [f"arguments are a {type(arguments).__name__}, not an object"]
    if shape is None:
        return [f"{name}: {operation} takes no parameters" for name in arguments]
    report = ParamValidator().validate(arguments, shape).generate_report()
    errors = [line for line in report.splitlines() if line.strip()]
    errors += _enumerations(shape, arguments)
    if expected is not None:
        errors += differences(expected, arguments)
    return errors


def _enumerations(shape: Any, arguments: dict[str, Any]) -> list[str]:
    errors = []
    for name, value in arguments.items():
        allowed = getattr(shape.members.get(name), "enum", None)
        if allowed and isinstance(value, str) and value not in allowed:
            errors.append(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    return errors
