"""ApplyGuardrail and InvokeGuardrailChecks: texts that are looked through without a model."""

from __future__ import annotations

from typing import Any

from tenet.serving.api.guarding.guard import assessment, coverage, reason, usage_of
from tenet.serving.api.guarding.personal import KINDS, personal
from tenet.serving.api.guarding.scan import scanned
from tenet.serving.api.guardrails import Guardrail
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.service_model import RUNTIME, check_body


def apply(guardrail: Guardrail, body: dict[str, Any]) -> dict[str, Any]:
    """The ApplyGuardrail response.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    check_body(RUNTIME, "ApplyGuardrail", body)
    for i, block in enumerate(body["content"]):
        if "image" in block:
            raise invalid(f"content.{i}.image", "this endpoint looks through text only.")
    blocks = [block["text"] for block in body["content"]]
    texts = [block["text"] for block in blocks if is_guarded(block)]
    found = [scanned(guardrail, text) for text in texts]
    scans = [scan for scan, _ in found]
    full = body.get("outputScope") == "FULL"
    blocked, acted = any(scan.blocked for scan in scans), any(scan.intervened for scan in scans)
    told = guardrail.blocked_input if body["source"] == "INPUT" else guardrail.blocked_output
    outputs = [{"text": told}] if blocked else [{"text": text} for _, text in found] if acted else []
    return {
        "usage": usage_of(guardrail, texts),
        "action": "GUARDRAIL_INTERVENED" if acted else "NONE",
        "actionReason": reason(scans),
        "outputs": outputs,
        "assessments": [assessment(scan, full) for scan in scans if full or scan.intervened],
        "guardrailCoverage": coverage(sum(map(len, texts)), sum(len(block["text"]) for block in blocks)),
    }


def is_guarded(block: dict[str, Any]) -> bool:
    """Text that is only the source or the question of a grounding check is looked through by no other policy."""
    return "guard_content" in block.get("qualifiers", ["guard_content"])


def checks(body: dict[str, Any]) -> dict[str, Any]:
    """The InvokeGuardrailChecks response. What only a model could judge is refused by name.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    check_body(RUNTIME, "InvokeGuardrailChecks", body)
    wanted = body["checks"]
    if not wanted:
        raise invalid("checks", "must name a check; this endpoint has sensitiveInformation.")
    for name in ("contentFilter", "promptAttack"):
        if name in wanted:
            raise invalid(
                f"checks.{name}", "needs a model that judges, which this endpoint has not; it has sensitiveInformation."
            )
    kinds = [entity["type"] for entity in wanted["sensitiveInformation"]["entities"]]
    for i, kind in enumerate(kinds):
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise invalid(
                f"checks.sensitiveInformation.entities.{i}.type", f"{kind} is not supported by this endpoint; {known} are."
            )
    texts = [(m, c, block["text"]) for m, message in enumerate(body["messages"]) for c, block in enumerate(message["content"])]
    results = [{**one, "messageIndex": m, "contentIndex": c} for m, c, text in texts for one in personal(text, kinds)]
    units = sum(max(1, -(-len(text) // 1000)) for _, _, text in texts)
    return {
        "results": {"sensitiveInformation": {"results": results[:MOST], "truncated": len(results) > MOST}},
        "usage": {"sensitiveInformation": {"textUnits": units}},
    }


#: Findings that one answer holds.
MOST = 1000
