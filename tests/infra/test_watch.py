"""Alerts: what is measured, who hears of it, and that what is measured is what the endpoint is called in CloudWatch."""

from __future__ import annotations

import json
from typing import Any

from .conftest import Recorded


def alarms(program: Recorded) -> dict[str, dict[str, Any]]:
    return {
        r["name"].removeprefix("watch-"): r["inputs"]
        for r in program.of("cloudwatch/metricAlarm:MetricAlarm")
        if r["name"].startswith("watch-")
    }


def test_each_thing_that_can_go_wrong_has_an_alarm(program: Recorded) -> None:
    found = alarms(program)
    assert {"errors", "latency", "no-healthy-target", "overload"} <= set(found)
    assert ("storage" in found) is bool(program.outputs["fsx_file_system_id"])
    unused = {name.removeprefix("unused-") for name in found if name.startswith("unused-")}
    assert unused == set(program.outputs["capacity_reservation_ids"])
    for alarm in found.values():
        assert alarm["alarmActions"] == alarm["okActions"] == [program.outputs["alerts_topic_arn"]]
        assert alarm["alarmDescription"] and alarm["treatMissingData"] in ("notBreaching", "missing")
    assert found["latency"]["extendedStatistic"] == "p99" and found["latency"]["threshold"] == 30
    assert found["overload"]["threshold"] == 24 and found["overload"]["namespace"] == f"Tenet/{program.stack}"


def test_the_alarms_share_of_errors_adds_up(program: Recorded) -> None:
    """The expression names each query that it reads, and only its own result is compared."""
    queries = {q["id"]: q for q in alarms(program)["errors"]["metricQueries"]}
    assert [q["id"] for q in queries.values() if q["returnData"]] == ["share"]
    assert {"all", "own", "target"} == set(queries) - {"share"}
    assert all(name in queries["share"]["expression"] for name in ("all", "own", "target"))
    assert {q["metric"]["metricName"] for q in queries.values() if "metric" in q} == {
        "RequestCount",
        "HTTPCode_ELB_5XX_Count",
        "HTTPCode_Target_5XX_Count",
    }


def test_a_file_system_alarms_in_bytes(program: Recorded) -> None:
    found = alarms(program)
    if "storage" in found:
        (files,) = program.of("fsx/lustreFileSystem:LustreFileSystem")
        whole = files["inputs"]["storageCapacity"] * 2**30
        assert 0.1 * whole < found["storage"]["threshold"] < 0.2 * whole


def test_money(program: Recorded) -> None:
    kinds = {r["type"] for r in program.resources}
    if program.stack == "local":
        assert not [k for k in kinds if k.startswith(("aws:budgets", "aws:costexplorer"))], "moto has neither"
        return
    (budget,) = program.of("budgets/budget:Budget")
    assert budget["inputs"]["limitAmount"] == {"dev": "1000", "prod": "50000"}[program.stack]
    notices = [(n["notificationType"], n["threshold"]) for n in budget["inputs"]["notifications"]]
    assert notices == [("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
    (subscription,) = program.of("costexplorer/anomalySubscription:AnomalySubscription")
    topic = program.outputs["alerts_topic_arn"]
    assert subscription["inputs"]["subscribers"] == [{"type": "SNS", "address": topic}]
    (policy,) = program.of("sns/topicPolicy:TopicPolicy")
    for told in (budget, subscription):
        assert told["inputs"] and policy["urn"] in _depends(program, told), "AWS tries the topic at once"


def _depends(program: Recorded, resource: dict[str, Any]) -> list[str]:
    (one,) = [r for r in program.resources if r["urn"] == resource["urn"]]
    waits: list[str] = one["depends_on"]
    return waits


def test_only_this_accounts_services_publish(program: Recorded) -> None:
    services = {"budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com"}
    account = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    allowed, denied = program.policy("sns/topicPolicy:TopicPolicy", "watch")["Statement"]
    assert set(allowed["Principal"]["Service"]) == services and allowed["Condition"] == account
    assert denied["Effect"] == "Deny" and denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    senders = program.policy("kms/key:Key", "watch")["Statement"][1]
    assert set(senders["Principal"]["Service"]) == services and senders["Condition"] == account
    assert {"kms:Decrypt", "kms:GenerateDataKey*"} == set(senders["Action"]), "without both nothing reaches an encrypted topic"
    emails = [r["inputs"]["endpoint"] for r in program.resources if r["type"] == "aws:sns/topicSubscription:TopicSubscription"]
    assert emails == (["ml-platform@tenet.internal"] if program.stack == "prod" else [])


def test_the_dashboard_shows_what_the_alarms_watch(program: Recorded) -> None:
    (board,) = program.of("cloudwatch/dashboard:Dashboard")
    body = json.loads(board["inputs"]["dashboardBody"])
    text = json.dumps(body)
    for metric in (
        "RequestCount",
        "HTTPCode_Target_5XX_Count",
        "TargetResponseTime",
        "HealthyHostCount",
        f'"Tenet/{program.stack}", "Load"',
    ):
        assert metric in text
    assert ("FreeDataStorageCapacity" in text) is bool(program.outputs["fsx_file_system_id"])
    places = [(w["x"], w["y"]) for w in body["widgets"]]
    assert len(set(places)) == len(places) and all(w["x"] + w["width"] <= 24 for w in body["widgets"])
