"""A stand-in for the AWS provider, for a real Pulumi engine: a folder of JSON files is the account, and nothing is
called.

The engine starts it as `pulumi-resource-aws` and speaks gRPC to the port that it prints. What is declared is kept; what
AWS computes is made up (computed.py), and unknown in a preview. A name is given once in an account, names that the
program leaves out are made from its own, a change of what AWS cannot change is a replacement, and a refreshed security
group lists rules that stand alone. It shows what only an engine can, and nothing of AWS.

    TENET_ACCOUNT=FOLDER python provider.py
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import uuid
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc
from pulumi.runtime.rpc import UNKNOWN

sys.path.insert(0, str(Path(__file__).parent))
from computed import ACCOUNT, answer, cluster_network, computed

VERSION = "7.51.1"
#: Types that get a name of the provider's making where the program gives none -> the property.
NAMED = {
    "aws:s3/bucket:Bucket": "bucket",
    **{f"aws:{kind}": "name" for kind in ("iam/role:Role", "iam/policy:Policy", "ec2/launchTemplate:LaunchTemplate")},
    "aws:ec2/securityGroup:SecurityGroup": "name",
}
#: What AWS cannot change in place.
FIXED = {"aws:ecs/taskDefinition:TaskDefinition": {"containerDefinitions", "family"}}
GROUP, CLUSTER = "aws:ec2/securityGroup:SecurityGroup", "aws:eks/cluster:Cluster"
#: A rule as AWS lists it with its group, whoever declared it.
LISTED = {"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/8"], "self": False}
Properties = dict[str, Any]


class Account:
    """What exists, one file a resource, so that it outlives a stack's state."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.Lock()

    def make(self, kind: str, ident: str, inputs: Properties, outputs: Properties) -> None:
        """Put a resource there.

        Raises:
            ValueError: one of its type has its name.
        """
        with self.lock:
            name = inputs.get(NAMED.get(kind, "name"))
            taken = [other for other in self.all() if other["kind"] == kind and name and other["name"] == name]
            if taken:
                raise ValueError(f"{kind} {name} exists already in the account")
            self.put(ident, {"kind": kind, "name": name, "inputs": inputs, "outputs": outputs})

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.folder.glob("*.json")]

    def get(self, ident: str) -> dict[str, Any] | None:
        path = self.folder / f"{ident}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def put(self, ident: str, found: dict[str, Any]) -> None:
        (self.folder / f"{ident}.json").write_text(json.dumps(found))

    def remove(self, ident: str) -> None:
        (self.folder / f"{ident}.json").unlink(missing_ok=True)


class Aws(provider_pb2_grpc.ResourceProviderServicer):
    """The provider's side of the protocol, as far as the engine needs it here."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema=json.dumps({"name": "aws", "version": VERSION}))

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        return provider_pb2.ConfigureResponse(acceptSecrets=False, supportsPreview=True)

    def Invoke(self, request: Any, context: Any) -> Any:
        return provider_pb2.InvokeResponse(**{"return": wire(answer(request.tok, plain(request.args), ACCOUNT[::-1]))})

    def Check(self, request: Any, context: Any) -> Any:
        """Names that the program leaves out; one that was given before stays."""
        inputs, key = plain(request.news), NAMED.get(kind_of(request.urn))
        if key and key not in inputs:
            seed = hashlib.sha256(request.randomSeed or uuid.uuid4().bytes).hexdigest()[:7]
            inputs[key] = plain(request.olds).get(key) or f"{name_of(request.urn)}-{seed}"
        return provider_pb2.CheckResponse(inputs=wire(inputs))

    def Diff(self, request: Any, context: Any) -> Any:
        before, after = plain(request.old_inputs), plain(request.news)
        changed = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
        kinds = provider_pb2.DiffResponse
        return kinds(
            changes=kinds.DIFF_SOME if changed else kinds.DIFF_NONE,
            diffs=changed,
            replaces=sorted(FIXED.get(kind_of(request.urn), set()) & set(changed)),
        )

    def Create(self, request: Any, context: Any) -> Any:
        kind, inputs = kind_of(request.urn), plain(request.properties)
        outputs = outputs_of(request.urn, inputs, request.preview)
        if request.preview:
            return provider_pb2.CreateResponse(properties=wire(outputs))
        ident = f"{kind.split(':')[-1].lower()}-{uuid.uuid4().hex[:12]}"
        try:
            self.account.make(kind, ident, inputs, outputs)
        except ValueError as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        return provider_pb2.CreateResponse(id=ident, properties=wire(outputs))

    def Read(self, request: Any, context: Any) -> Any:
        found = self.account.get(request.id)
        if found is None:
            return provider_pb2.ReadResponse()
        seen = found["outputs"] | ({"ingress": [LISTED], "egress": [LISTED]} if found["kind"] == GROUP else {})
        return provider_pb2.ReadResponse(id=request.id, inputs=wire(found["inputs"]), properties=wire(seen))

    def Update(self, request: Any, context: Any) -> Any:
        inputs = plain(request.news)
        outputs = {**plain(request.olds), **outputs_of(request.urn, inputs, preview=False)}
        if not request.preview:
            found = self.account.get(request.id)
            if found is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"{request.urn} does not exist in the account")
            self.account.put(request.id, {**found, "inputs": inputs, "outputs": outputs})
        return provider_pb2.UpdateResponse(properties=wire(outputs))

    def Delete(self, request: Any, context: Any) -> Any:
        self.account.remove(request.id)
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()


def kind_of(urn: str) -> str:
    """A resource's type, without those of the components around it."""
    return urn.split("::")[2].split("$")[-1]


def name_of(urn: str) -> str:
    return urn.split("::")[3]


def outputs_of(urn: str, inputs: Properties, preview: bool) -> Properties:
    """Inputs, beside what AWS computes; in a preview that is unknown."""
    kind, name = kind_of(urn), name_of(urn)
    made = {key: UNKNOWN if preview else value for key, value in computed(kind, name).items() if key not in inputs}
    if kind == CLUSTER:
        network = cluster_network(inputs["vpcConfig"], name)
        made["vpcConfig"] = network | ({"clusterSecurityGroupId": UNKNOWN} if preview else {})
    return {**inputs, **made}


def plain(properties: Any) -> Properties:
    return json_format.MessageToDict(properties)


def wire(properties: Properties) -> Any:
    return json_format.ParseDict(properties, struct_pb2.Struct())


def main() -> None:
    """Serve until the engine ends this process."""
    options = [("grpc.max_receive_message_length", 1 << 28)]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=options)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Aws(Account(Path(os.environ["TENET_ACCOUNT"]))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
