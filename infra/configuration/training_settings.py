"""Settings of what training stands on: GPU network, reservations, cluster and shared file system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from configuration import addresses
from configuration.instances import addresses as node_addresses
from configuration.reading import Reader, SettingError, network
from configuration.reservations import Reservation, parse
from configuration.settings import Settings

#: Kinds of FSx for Lustre; none declares no file system.
LUSTRE = ("none", "SCRATCH_2", "PERSISTENT_2")
#: MB/s for each TiB of a PERSISTENT_2 file system -> GiB that one with EFA must be a multiple of (FSx user guide,
#: 2025).
LUSTRE_EFA_GIB = {125: 38_400, 250: 19_200, 500: 9_600, 1000: 4_800}
#: Machines of the cluster's own pods (DNS, controllers) besides the GPU nodes.
SYSTEM_NODES = 4
_ROLE = re.compile(r"arn:aws:iam::\d{12}:(role|user)/\S+")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Each field is the key of the same name in camel case; see Pulumi.yaml for what it means."""

    stack: Settings
    gpu_zone: str
    gpu_cidr: str
    reservations: tuple[Reservation, ...]
    kubernetes_version: str
    cluster_admins: tuple[str, ...]
    cluster_cidrs: tuple[str, ...]
    lustre: str
    lustre_gib: int
    lustre_throughput: int
    lustre_efa: bool

    def __post_init__(self) -> None:
        self._check_place()
        self._check_room()
        self._check_cluster()
        if self.lustre not in LUSTRE:
            raise SettingError(f"tenet:lustre is {self.lustre!r}; allowed are {', '.join(LUSTRE)}")
        if self.lustre != "none":
            self._check_lustre()

    def _check_place(self) -> None:
        """Capacity, its subnet and its file system stand in one zone: every byte between zones is paid, and EFA ends at
        the zone."""
        if self.gpu_zone not in self.stack.zones:
            raise SettingError(f"tenet:gpuZone is {self.gpu_zone}; it must be one of tenet:zones, {', '.join(self.stack.zones)}")
        for i, r in enumerate(self.reservations):
            if r.zone != self.gpu_zone:
                raise SettingError(
                    f"tenet:reservations[{i}].zone is {r.zone}, the GPU subnet and the file system stand in {self.gpu_zone}; "
                    "set tenet:gpuZone to the zone of the capacity (a second zone is a second stack)"
                )

    def _check_room(self) -> None:
        whole, block = network("tenet:cidr", self.stack.cidr), network("tenet:gpuCidr", self.gpu_cidr)
        if not block.subnet_of(whole):
            raise SettingError(f"tenet:gpuCidr is {block}; it lies outside tenet:cidr {whole}")
        if not 16 <= block.prefixlen <= 28:
            raise SettingError(f"tenet:gpuCidr is {block}; a subnet is between /16 and /28")
        for other in addresses.taken(self.stack.cidr):
            if block.overlaps(other):
                free = addresses.parts(self.stack.cidr)[addresses.ZONES + 1]
                raise SettingError(f"tenet:gpuCidr is {block}; it overlaps {other}, which other subnets use; free from {free} on")
        needed, room = sum(r.max * node_addresses(r.machine) for r in self.reservations), addresses.room(block)
        if needed > room:
            raise SettingError(
                f"tenet:gpuCidr is {block}, {room} addresses; tenet:reservations can grow to {needed} (nodes x addresses of their "
                "network cards and pods): give a larger range or a smaller max"
            )

    def _check_cluster(self) -> None:
        if not re.fullmatch(r"1\.\d\d", self.kubernetes_version):
            raise SettingError(f"tenet:kubernetesVersion is {self.kubernetes_version!r}; a version such as 1.35 is needed")
        for arn in self.cluster_admins:
            if not _ROLE.fullmatch(arn):
                raise SettingError(
                    f"tenet:clusterAdmins has {arn!r}; an IAM role or user is needed, arn:aws:iam::ACCOUNT:role/NAME"
                )
        for cidr in self.cluster_cidrs:
            if network("tenet:clusterCidrs", cidr).prefixlen < 8:
                raise SettingError(f"tenet:clusterCidrs has {cidr}, which is nearly everyone; name the ranges of your offices")

    def _check_lustre(self) -> None:
        persistent = self.lustre == "PERSISTENT_2"
        if self.lustre_gib != 1200 and (self.lustre_gib < 2400 or self.lustre_gib % 2400):
            raise SettingError(f"tenet:lustreGib is {self.lustre_gib}; 1200 or a multiple of 2400 is needed")
        if persistent and self.lustre_throughput not in LUSTRE_EFA_GIB:
            allowed = ", ".join(map(str, LUSTRE_EFA_GIB))
            raise SettingError(f"tenet:lustreThroughput is {self.lustre_throughput}; allowed are {allowed} MB/s for each TiB")
        if not self.lustre_efa:
            return
        if not persistent:
            raise SettingError(f"tenet:lustreEfa is true, tenet:lustre is {self.lustre}; only PERSISTENT_2 speaks EFA")
        step = LUSTRE_EFA_GIB[self.lustre_throughput]
        if self.lustre_gib % step:
            raise SettingError(
                f"tenet:lustreGib is {self.lustre_gib}; with tenet:lustreEfa and {self.lustre_throughput} MB/s for each TiB a multiple "
                f"of {step} is needed"
            )

    @staticmethod
    def read(reader: Reader, protect: bool) -> dict[str, Any]:
        """The fields from the stack's configuration, apart from those of the stack itself."""
        wanted = protect and reader.object("tenet:reservations")
        nobody = "nobody could use the cluster, name a role" if wanted else ""
        return {
            "gpu_zone": reader.text("tenet:gpuZone"),
            "gpu_cidr": reader.text("tenet:gpuCidr"),
            "reservations": parse(reader, protect),
            "kubernetes_version": reader.text("tenet:kubernetesVersion"),
            "cluster_admins": reader.texts("tenet:clusterAdmins", needed=nobody),
            "cluster_cidrs": reader.texts("tenet:clusterCidrs"),
            "lustre": reader.text("tenet:lustre"),
            "lustre_gib": reader.number("tenet:lustreGib"),
            "lustre_throughput": reader.number("tenet:lustreThroughput"),
            "lustre_efa": reader.truth("tenet:lustreEfa"),
        }
