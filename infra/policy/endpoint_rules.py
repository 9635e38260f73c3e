"""The way in, the service behind it and the machines that carry it."""

from __future__ import annotations

from typing import Any

from policy.facts import depends, is_production, told
from policy.resource import Resource
from policy.select import listed, of

#: Seconds: a queued answer may be silent for so long; a stream may take so long to end; weights may take so long to load.
SILENCE, DRAIN, LOAD = 900, 300, 900
#: More replicas than a mistake in the scaling should be able to rent.
MOST_REPLICAS = 256
#: AWS's rule that refuses bodies beyond 8 KiB, which a prompt easily is.
BODY_RULE = "SizeRestrictions_BODY"


def balancers_speak_tls(resources: list[Resource]) -> list[str]:
    """Load balancers take requests over TLS 1.2 or newer only; port 80 sends callers there."""
    problems = []
    for listener in of(resources, "lb/listener:Listener"):
        inputs = listener.inputs
        kinds = {action.get("type") for action in listed(inputs.get("defaultActions", []))}
        if inputs.get("protocol") == "HTTP" and kinds != {"redirect"}:
            problems.append(f"{told(listener)} answers over plain HTTP; let its only action be a redirect to HTTPS")
        if inputs.get("protocol") == "HTTPS":
            policy = str(inputs.get("sslPolicy", "AWS's default, which takes TLS 1.0"))
            if ("TLS13" not in policy and "TLS-1-2" not in policy) or "-1-0-" in policy or "-1-1-" in policy:
                problems.append(f"{told(listener)}: sslPolicy is {policy}; take ELBSecurityPolicy-TLS13-1-2-2021-06")
            if not inputs.get("certificateArn"):
                problems.append(f"{told(listener)} has no certificateArn")
    for balancer in _application(resources):
        if not any(r.inputs.get("protocol") == "HTTPS" and depends(r, balancer) for r in of(resources, "lb/listener:Listener")):
            problems.append(f"{told(balancer)} has no HTTPS listener")
    return problems


def balancers_let_streams_run(resources: list[Resource]) -> list[str]:
    """Load balancers wait for slow answers, drop broken headers, and log who asked."""
    problems = []
    for balancer in _application(resources):
        inputs, name = balancer.inputs, told(balancer)
        if inputs.get("idleTimeout", 60) < SILENCE:
            problems.append(
                f"{name}: idleTimeout is {inputs.get('idleTimeout', 60)}; {SILENCE} s at least, or slow answers are cut"
            )
        if inputs.get("dropInvalidHeaderFields") is not True:
            problems.append(f"{name}: dropInvalidHeaderFields is not true; broken headers would reach the server")
        if not inputs.get("accessLogs", {}).get("enabled"):
            problems.append(f"{name} keeps no access log; set accessLogs with enabled")
    return problems


def balancers_are_guarded(resources: list[Resource]) -> list[str]:
    """A web ACL stands before every application load balancer; in production they cannot be deleted by mistake."""
    problems = []
    for balancer in _application(resources):
        if not any(depends(a, balancer) for a in of(resources, "wafv2/webAclAssociation:WebAclAssociation")):
            problems.append(f"{told(balancer)} has no web ACL; associate one with wafv2.WebAclAssociation")
    for balancer in of(resources, "lb/loadBalancer:LoadBalancer"):
        if is_production(resources) and balancer.inputs.get("enableDeletionProtection") is not True:
            problems.append(f"{told(balancer)}: enableDeletionProtection is not true in production")
    return problems


def firewall_spares_prompts(resources: list[Resource]) -> list[str]:
    """The web ACL limits each address, does not refuse long bodies, and logs no credentials."""
    problems = []
    for acl in of(resources, "wafv2/webAcl:WebAcl"):
        found = [rule.get("statement", {}) for rule in listed(acl.inputs.get("rules", []))]
        if not any("rateBasedStatement" in statement for statement in found):
            problems.append(f"{told(acl)} has no rate rule; one address could take all places")
        for group in (s["managedRuleGroupStatement"] for s in found if "managedRuleGroupStatement" in s):
            if group.get("name") == "AWSManagedRulesCommonRuleSet" and BODY_RULE not in _counted(group):
                problems.append(f"{told(acl)}: {BODY_RULE} blocks prompts beyond 8 KiB; override its action with count")
        logs = [r for r in of(resources, "wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration") if depends(r, acl)]
        if not logs:
            problems.append(f"{told(acl)} keeps no log; add wafv2.WebAclLoggingConfiguration")
        for log in logs:
            hidden = [field.get("singleHeader", {}).get("name") for field in listed(log.inputs.get("redactedFields", []))]
            if "authorization" not in hidden:
                problems.append(f"{told(log)} writes API keys into the log; redact the header authorization")
    return problems


def services_go_back_by_themselves(resources: list[Resource]) -> list[str]:
    """A deployment that does not get healthy is rolled back; weights get time to load, and streams to end."""
    problems = []
    for service in of(resources, "ecs/service:Service"):
        breaker = service.inputs.get("deploymentCircuitBreaker", {})
        if not (breaker.get("enable") and breaker.get("rollback")):
            problems.append(f"{told(service)}: deploymentCircuitBreaker must enable rollback")
        grace = service.inputs.get("healthCheckGracePeriodSeconds", 0)
        if grace < LOAD:
            problems.append(f"{told(service)}: healthCheckGracePeriodSeconds is {grace}; weights load for up to {LOAD} s")
    for target in of(resources, "lb/targetGroup:TargetGroup"):
        if target.inputs.get("targetType") == "alb":
            continue  # what it leads to drains
        delay = target.inputs.get("deregistrationDelay", 300)
        if delay < DRAIN:
            problems.append(f"{told(target)}: deregistrationDelay is {delay}; {DRAIN} s at least, or streams are cut")
        if not target.inputs.get("healthCheck", {}).get("path"):
            problems.append(f"{told(target)} has no health path; /readyz says whether the weights are loaded")
    return problems


def services_follow_their_load(resources: list[Resource]) -> list[str]:
    """Replicas follow a metric of load; in production at least two serve and the most is bounded."""
    problems = []
    targets = [t for t in of(resources, "appautoscaling/target:Target") if t.inputs.get("serviceNamespace") == "ecs"]
    policies = of(resources, "appautoscaling/policy:Policy")
    production = is_production(resources)
    for target in targets:
        least, most = target.inputs.get("minCapacity", 0), target.inputs.get("maxCapacity", 0)
        if production and least < 2:
            problems.append(f"{told(target)}: minCapacity is {least}; in production two must serve, so that one may fail")
        if most > MOST_REPLICAS:
            problems.append(f"{told(target)}: maxCapacity is {most}; a mistake could rent them all, {MOST_REPLICAS} at most")
        tracked = [p.inputs.get("targetTrackingScalingPolicyConfiguration") for p in policies if depends(p, target)]
        if not any(t and "customizedMetricSpecification" in t for t in tracked):
            problems.append(f"{told(target)} follows no metric of load; streams differ too much to count requests")
    for service in of(resources, "ecs/service:Service"):
        if production and not any(depends(t, service) for t in targets):
            problems.append(f"{told(service)} does not scale in production; declare appautoscaling.Target for it")
    return problems


def serving_machines_are_not_taken_away(resources: list[Resource]) -> list[str]:
    """Machines that ECS fills are protected from scale-in, so that only an empty one goes."""
    problems = []
    for provider in of(resources, "ecs/capacityProvider:CapacityProvider"):
        if provider.inputs.get("autoScalingGroupProvider", {}).get("managedTerminationProtection") != "ENABLED":
            problems.append(f"{told(provider)}: managedTerminationProtection must be ENABLED")
        for group in of(resources, "autoscaling/group:Group"):
            if depends(provider, group) and group.inputs.get("protectFromScaleIn") is not True:
                problems.append(f"{told(group)}: protectFromScaleIn must be true where ECS manages termination")
    return problems


def production_does_not_serve_on_spot(resources: list[Resource]) -> list[str]:
    """Production does not serve on machines that AWS takes back at two minutes' notice."""
    if not is_production(resources):
        return []
    problems = []
    for group in of(resources, "autoscaling/group:Group"):
        spread = group.inputs.get("mixedInstancesPolicy", {}).get("instancesDistribution", {})
        if spread.get("onDemandPercentageAboveBaseCapacity", 100) < 100:
            problems.append(f"{told(group)}: onDemandPercentageAboveBaseCapacity is below 100; serve on demand in production")
    for service in of(resources, "ecs/service:Service"):
        if any("SPOT" in str(s.get("capacityProvider", "")) for s in listed(service.inputs.get("capacityProviderStrategies"))):
            problems.append(f"{told(service)}: a capacity provider is spot; serve on demand in production")
    return problems


def images_do_not_change(resources: list[Resource]) -> list[str]:
    """Image tags are immutable, images are scanned, encrypted with our key and cleared away."""
    problems = []
    for repository in of(resources, "ecr/repository:Repository"):
        inputs, name = repository.inputs, told(repository)
        if inputs.get("imageTagMutability") != "IMMUTABLE":
            problems.append(f"{name}: imageTagMutability must be IMMUTABLE; with a tag that moves, going back is a guess")
        if not inputs.get("imageScanningConfiguration", {}).get("scanOnPush"):
            problems.append(f"{name}: scanOnPush must be true")
        if not any(e.get("encryptionType") == "KMS" for e in listed(inputs.get("encryptionConfigurations", []))):
            problems.append(f"{name} is not encrypted with KMS")
        if not any(depends(p, repository) for p in of(resources, "ecr/lifecyclePolicy:LifecyclePolicy")):
            problems.append(f"{name} grows for ever; add ecr.LifecyclePolicy")
    return problems


def tables_can_be_restored(resources: list[Resource]) -> list[str]:
    """Tables are encrypted with our key and can be restored to any second; production's cannot be deleted by mistake."""
    problems = []
    for table in of(resources, "dynamodb/table:Table"):
        inputs, name = table.inputs, told(table)
        if not inputs.get("pointInTimeRecovery", {}).get("enabled"):
            problems.append(f"{name}: pointInTimeRecovery must be enabled")
        encryption = inputs.get("serverSideEncryption", {})
        if not (encryption.get("enabled") and encryption.get("kmsKeyArn")):
            problems.append(f"{name}: serverSideEncryption must name our key")
        if is_production(resources) and inputs.get("deletionProtectionEnabled") is not True:
            problems.append(f"{name}: deletionProtectionEnabled must be true in production")
    return problems


def private_link_is_by_name(resources: list[Resource]) -> list[str]:
    """Others connect by PrivateLink only when they are named and then accepted."""
    problems = []
    for service in of(resources, "ec2/vpcEndpointService:VpcEndpointService"):
        if "*" in listed(service.inputs.get("allowedPrincipals", [])):
            problems.append(f"{told(service)} lets everyone ask; name principals")
        if service.inputs.get("acceptanceRequired") is not True:
            problems.append(f"{told(service)}: acceptanceRequired must be true")
    return problems


def _application(resources: list[Resource]) -> list[Resource]:
    found = of(resources, "lb/loadBalancer:LoadBalancer")
    return [r for r in found if r.inputs.get("loadBalancerType", "application") == "application"]


def _counted(group: dict[str, Any]) -> set[str]:
    """Rules of a managed group that only count."""
    overrides = listed(group.get("ruleActionOverrides", []))
    return {o.get("name", "") for o in overrides if "count" in o.get("actionToUse", {})}
