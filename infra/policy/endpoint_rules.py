"""The way in, the service behind it and the machines that carry it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policy.declared import Resource
from policy.facts import depends, is_production, told
from policy.selecting import given, listed, of, on
from policy.unknown import if_known

#: Seconds: a queued answer may be silent for so long; a stream may take so long to end; weights may take so long to
#: load.
SILENCE, DRAIN, LOAD = 900, 300, 900
#: More replicas than a mistake in the scaling should be able to rent.
MOST_REPLICAS = 256
#: AWS's rule that refuses bodies beyond 8 KiB, which a prompt easily is.
BODY_RULE = "SizeRestrictions_BODY"


def balancers_speak_tls(resources: list[Resource]) -> list[str]:
    """Load balancers take requests over TLS 1.2 or newer only; port 80 sends callers there."""
    problems: list[str] = []
    for listener in of(resources, "lb/listener:Listener"):
        with if_known():
            problems += _listens(listener)
    for balancer in _application(resources):
        with if_known():
            mine = [r for r in of(resources, "lb/listener:Listener") if depends(r, balancer)]
            if not any(r.inputs.get("protocol") == "HTTPS" for r in mine):
                problems.append(f"{told(balancer)} has no HTTPS listener")
    return problems


def _listens(listener: Resource) -> Iterator[str]:
    inputs, name = listener.inputs, told(listener)
    kinds = {action.get("type") for action in listed(inputs.get("defaultActions"))}
    if inputs.get("protocol") == "HTTP" and kinds != {"redirect"}:
        yield f"{name} answers over plain HTTP; let its only action be a redirect to HTTPS"
    if inputs.get("protocol") != "HTTPS":
        return
    policy = str(inputs.get("sslPolicy", "AWS's default, which takes TLS 1.0"))
    if ("TLS13" not in policy and "TLS-1-2" not in policy) or "-1-0-" in policy or "-1-1-" in policy:
        yield f"{name}: sslPolicy is {policy}; take ELBSecurityPolicy-TLS13-1-2-2021-06"
    if not given(inputs, "certificateArn"):
        yield f"{name} has no certificateArn"


def balancers_let_streams_run(resources: list[Resource]) -> list[str]:
    """Load balancers wait for slow answers, drop broken headers, and log who asked."""
    problems = []
    for balancer in _application(resources):
        inputs, name = balancer.inputs, told(balancer)
        with if_known():
            silence = inputs.get("idleTimeout", 60)
            if silence < SILENCE:
                problems.append(f"{name}: idleTimeout is {silence}; {SILENCE} s at least, or slow answers are cut")
        with if_known():
            if not on(inputs.get("dropInvalidHeaderFields")):
                problems.append(f"{name}: dropInvalidHeaderFields is not true; broken headers would reach the server")
        with if_known():
            if not inputs.get("accessLogs", {}).get("enabled"):
                problems.append(f"{name} keeps no access log; set accessLogs with enabled")
    return problems


def balancers_are_guarded(resources: list[Resource]) -> list[str]:
    """A web ACL stands before every application load balancer; in production they cannot be deleted by mistake."""
    problems = []
    for balancer in _application(resources):
        if not any(depends(a, balancer) for a in of(resources, "wafv2/webAclAssociation:WebAclAssociation")):
            problems.append(f"{told(balancer)} has no web ACL; associate one with wafv2.WebAclAssociation")
    for balancer in of(resources, "lb/loadBalancer:LoadBalancer") if is_production(resources) else []:
        with if_known():
            if not on(balancer.inputs.get("enableDeletionProtection")):
                problems.append(f"{told(balancer)}: enableDeletionProtection is not true in production")
    return problems


def firewall_spares_prompts(resources: list[Resource]) -> list[str]:
    """The web ACL limits each address, does not refuse long bodies, and logs no credentials."""
    problems: list[str] = []
    for acl in of(resources, "wafv2/webAcl:WebAcl"):
        with if_known():
            problems += _firewall(acl)
        logs = [r for r in of(resources, "wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration") if depends(r, acl)]
        if not logs:
            problems.append(f"{told(acl)} keeps no log; add wafv2.WebAclLoggingConfiguration")
        for log in logs:
            with if_known():
                hidden = [field.get("singleHeader", {}).get("name") for field in listed(log.inputs.get("redactedFields"))]
                if "authorization" not in hidden:
                    problems.append(f"{told(log)} writes API keys into the log; redact the header authorization")
    return problems


def _firewall(acl: Resource) -> Iterator[str]:
    found = [rule.get("statement", {}) for rule in listed(acl.inputs.get("rules"))]
    if not any("rateBasedStatement" in statement for statement in found):
        yield f"{told(acl)} has no rate rule; one address could take all places"
    for group in (s["managedRuleGroupStatement"] for s in found if "managedRuleGroupStatement" in s):
        if group.get("name") == "AWSManagedRulesCommonRuleSet" and BODY_RULE not in _counted(group):
            yield f"{told(acl)}: {BODY_RULE} blocks prompts beyond 8 KiB; override its action with count"


def services_go_back_by_themselves(resources: list[Resource]) -> list[str]:
    """A deployment that does not get healthy is rolled back; weights get time to load, and streams to end."""
    problems = []
    for service in of(resources, "ecs/service:Service"):
        with if_known():
            breaker = service.inputs.get("deploymentCircuitBreaker", {})
            if not (breaker.get("enable") and breaker.get("rollback")):
                problems.append(f"{told(service)}: deploymentCircuitBreaker must enable rollback")
        with if_known():
            grace = service.inputs.get("healthCheckGracePeriodSeconds", 0)
            if grace < LOAD:
                problems.append(f"{told(service)}: healthCheckGracePeriodSeconds is {grace}; weights load for up to {LOAD} s")
    for target in of(resources, "lb/targetGroup:TargetGroup"):
        with if_known():
            problems += _drains(target)
    return problems


def _drains(target: Resource) -> Iterator[str]:
    if target.inputs.get("targetType") == "alb":
        return  # what it leads to drains
    delay = target.inputs.get("deregistrationDelay", 300)
    if delay < DRAIN:
        yield f"{told(target)}: deregistrationDelay is {delay}; {DRAIN} s at least, or streams are cut"
    if not target.inputs.get("healthCheck", {}).get("path"):
        yield f"{told(target)} has no health path; /readyz says whether the weights are loaded"


def services_follow_their_load(resources: list[Resource]) -> list[str]:
    """Replicas follow a metric of load; in production at least two serve and the most is bounded."""
    problems: list[str] = []
    policies, production = of(resources, "appautoscaling/policy:Policy"), is_production(resources)
    with if_known():
        targets = [t for t in of(resources, "appautoscaling/target:Target") if t.inputs.get("serviceNamespace") == "ecs"]
        for target in targets:
            with if_known():
                problems += _follows(target, [p for p in policies if depends(p, target)], production)
        for service in of(resources, "ecs/service:Service"):
            if production and not any(depends(t, service) for t in targets):
                problems.append(f"{told(service)} does not scale in production; declare appautoscaling.Target for it")
    return problems


def _follows(target: Resource, policies: list[Resource], production: bool) -> Iterator[str]:
    least, most = target.inputs.get("minCapacity", 0), target.inputs.get("maxCapacity", 0)
    if production and least < 2:
        yield f"{told(target)}: minCapacity is {least}; in production two must serve, so that one may fail"
    if most > MOST_REPLICAS:
        yield f"{told(target)}: maxCapacity is {most}; a mistake could rent them all, {MOST_REPLICAS} at most"
    tracked = [p.inputs.get("targetTrackingScalingPolicyConfiguration") for p in policies]
    if not any(t and "customizedMetricSpecification" in t for t in tracked):
        yield f"{told(target)} follows no metric of load; streams differ too much to count requests"


def serving_machines_are_not_taken_away(resources: list[Resource]) -> list[str]:
    """Machines that ECS fills are protected from scale-in, so that only an empty one goes."""
    problems = []
    for provider in of(resources, "ecs/capacityProvider:CapacityProvider"):
        with if_known():
            if provider.inputs.get("autoScalingGroupProvider", {}).get("managedTerminationProtection") != "ENABLED":
                problems.append(f"{told(provider)}: managedTerminationProtection must be ENABLED")
        for group in (g for g in of(resources, "autoscaling/group:Group") if depends(provider, g)):
            with if_known():
                if not on(group.inputs.get("protectFromScaleIn")):
                    problems.append(f"{told(group)}: protectFromScaleIn must be true where ECS manages termination")
    return problems


def production_does_not_serve_on_spot(resources: list[Resource]) -> list[str]:
    """Production does not serve on machines that AWS takes back at two minutes' notice."""
    if not is_production(resources):
        return []
    problems = []
    for group in of(resources, "autoscaling/group:Group"):
        with if_known():
            spread = group.inputs.get("mixedInstancesPolicy", {}).get("instancesDistribution", {})
            if spread.get("onDemandPercentageAboveBaseCapacity", 100) < 100:
                problems.append(f"{told(group)}: onDemandPercentageAboveBaseCapacity is below 100; serve on demand in production")
    for service in of(resources, "ecs/service:Service"):
        with if_known():
            providers = [s.get("capacityProvider", "") for s in listed(service.inputs.get("capacityProviderStrategies"))]
            if any("SPOT" in str(provider) for provider in providers):
                problems.append(f"{told(service)}: a capacity provider is spot; serve on demand in production")
    return problems


def images_do_not_change(resources: list[Resource]) -> list[str]:
    """Image tags are immutable, images are scanned, encrypted with our key and cleared away."""
    problems = []
    for repository in of(resources, "ecr/repository:Repository"):
        inputs, name = repository.inputs, told(repository)
        with if_known():
            if inputs.get("imageTagMutability") != "IMMUTABLE":
                problems.append(f"{name}: imageTagMutability must be IMMUTABLE; with a tag that moves, going back is a guess")
        with if_known():
            if not inputs.get("imageScanningConfiguration", {}).get("scanOnPush"):
                problems.append(f"{name}: scanOnPush must be true")
        with if_known():
            if not any(e.get("encryptionType") == "KMS" for e in listed(inputs.get("encryptionConfigurations"))):
                problems.append(f"{name} is not encrypted with KMS")
        if not any(depends(p, repository) for p in of(resources, "ecr/lifecyclePolicy:LifecyclePolicy")):
            problems.append(f"{name} grows for ever; add ecr.LifecyclePolicy")
    return problems


def tables_can_be_restored(resources: list[Resource]) -> list[str]:
    """Tables are encrypted with our key and can be restored to any second; production's cannot be deleted by
    mistake."""
    problems, production = [], is_production(resources)
    for table in of(resources, "dynamodb/table:Table"):
        inputs, name = table.inputs, told(table)
        with if_known():
            if not inputs.get("pointInTimeRecovery", {}).get("enabled"):
                problems.append(f"{name}: pointInTimeRecovery must be enabled")
        with if_known():
            encryption = inputs.get("serverSideEncryption", {})
            if not (encryption.get("enabled") and given(encryption, "kmsKeyArn")):
                problems.append(f"{name}: serverSideEncryption must name our key")
        with if_known():
            if production and not on(inputs.get("deletionProtectionEnabled")):
                problems.append(f"{name}: deletionProtectionEnabled must be true in production")
    return problems


def private_link_is_by_name(resources: list[Resource]) -> list[str]:
    """Others connect by PrivateLink only when they are named and then accepted."""
    problems = []
    for service in of(resources, "ec2/vpcEndpointService:VpcEndpointService"):
        with if_known():
            if "*" in listed(service.inputs.get("allowedPrincipals")):
                problems.append(f"{told(service)} lets everyone ask; name principals")
        with if_known():
            if not on(service.inputs.get("acceptanceRequired")):
                problems.append(f"{told(service)}: acceptanceRequired must be true")
    return problems


def _application(resources: list[Resource]) -> list[Resource]:
    found = []
    for balancer in of(resources, "lb/loadBalancer:LoadBalancer"):
        with if_known():
            if balancer.inputs.get("loadBalancerType", "application") == "application":
                found.append(balancer)
    return found


def _counted(group: dict[str, Any]) -> set[str]:
    """Rules of a managed group that only count."""
    overrides = listed(group.get("ruleActionOverrides", []))
    return {o.get("name", "") for o in overrides if "count" in o.get("actionToUse", {})}
