"""A Slurm cluster of two nodes on loopback, with a login node that SkyPilot reaches by SSH.

The nodes' GPUs are declared, not real (device files of /dev/null), so that launch files which ask for H100:8 are
scheduled as they are. Each node has a /tmp of its own, as machines have; the home folder and `base` are shared, as a
cluster's network disk is.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from tests.sky.local import namespace

NAME, NODES = "local", ("node1", "node2")
#: Declared of each node: two clusters of 8 GPUs (32 cores and 128 GB each) and the corpus (64 cores and 128 GB) fit
#: together.
CORES, MEMORY_MB, GPUS = 128, 512_000, 16
SSH_PORT, CONTROL_PORT, NODE_PORT = 22022, 16817, 16820

SLURM = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket
CredType=cred/munge
StateSaveLocation={base}/state
SlurmctldPidFile={base}/slurmctld.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdPidFile={base}/slurmd.%n.pid
SlurmdLogFile={base}/log/slurmd.%n.log
SlurmdSpoolDir={base}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0
KillWait=5
GresTypes=gpu
TaskProlog={base}/bin/prolog
"""
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {base}/ssh/host
PidFile {base}/sshd.pid
AuthorizedKeysFile {base}/ssh/user.pub
PasswordAuthentication no
StrictModes no
UsePAM no
SetEnv SLURM_CONF={base}/slurm.conf
MaxSessions 200
MaxStartups 100:30:200
"""
CLIENT = """\
Host {name}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile {base}/ssh/user
    IdentitiesOnly yes
"""
#: SkyPilot installs itself on each node with uv, from the internet. This takes uv's place: the environment that it
#: makes sees the packages of the one that tests run in, where the same SkyPilot is.
UV = """\
#!/usr/bin/env bash
case "$1" in
  -V) echo "uv, a stand-in" ;;
  venv)
    [[ "$*" == *--relocatable* ]] && exit 1  # an environment for users who bring none
    for word in "$@"; do case "$word" in /*|*runtime*) folder=$word ;; esac; done
    {python} -m venv --without-pip "$folder"
    echo "import site; site.addsitedir('{packages}')" > "$folder"/lib/python{version}/site-packages/tests.pth ;;
  pip) [ "$2" = list ] && echo "skypilot {sky}"; exit 0 ;;
  run)
    shift; while [[ "$1" == --* ]]; do shift; done
    PATH="$VIRTUAL_ENV/bin:$PATH" exec "$@" ;;
esac
"""
#: Runs before each of Slurm's tasks, and puts the stand-in where SkyPilot looks for uv.
PROLOG = """\
#!/usr/bin/env bash
for folder in {home}/.sky_clusters/*/; do
  [ -d "$folder" ] && [ ! -e "$folder/.local/bin/uv" ] && mkdir -p "$folder/.local/bin" && ln -sf {base}/bin/uv "$folder/.local/bin/uv"
done
exit 0
"""


def start(base: Path, keep: list[Path]) -> None:
    """Start the daemons and wait until both nodes are idle.

    Args:
        base: folder of the cluster, outside /tmp.
        keep: folders that nodes must see even if they lie in /tmp.

    Raises:
        RuntimeError: a node did not come up; the logs' ends are in the message.
    """
    home = Path(os.environ["HOME"])
    for folder in ("munge", "state", "log", "bin", "ssh", "devices"):
        (base / folder).mkdir(mode=0o755)
    words = {"base": base, "home": home, "name": NAME, "port": SSH_PORT, "control": CONTROL_PORT, "host": socket.gethostname()}
    _programs(base, words)
    _munge(base / "munge")
    os.environ["SLURM_CONF"] = str(base / "slurm.conf")
    _configure(base, words)
    _run("slurmctld", "-f", base / "slurm.conf")
    for node in NODES:
        _node(base, node, keep)
    _login(base, home, words)
    deadline = time.monotonic() + 120
    while _idle() < len(NODES):
        if time.monotonic() > deadline:
            ends = "\n".join(path.read_text()[-500:] for path in sorted((base / "log").iterdir()))
            raise RuntimeError(f"the nodes did not come up in two minutes; ends of the logs:\n{ends}")
        time.sleep(0.3)


def _programs(base: Path, words: dict[str, object]) -> None:
    from importlib.metadata import version

    here = {
        "python": Path(sys.executable).resolve(),
        "packages": sysconfig.get_paths()["purelib"],
        "version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "sky": version("skypilot"),
    }
    for name, text in (("uv", _filled(UV, **here)), ("prolog", _filled(PROLOG, **words))):
        path = base / "bin" / name
        path.write_text(text)
        path.chmod(0o755)


def _filled(text: str, **words: object) -> str:
    """`{word}` replaced; shell has other braces."""
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", str(value))
    return text


def _munge(folder: Path) -> None:
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    names = [f"--{what}={folder / file}" for what, file in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"))]
    _run("munged", "--force", *names, f"--log-file={folder / 'log'}", f"--seed-file={folder / 'seed'}")


def _configure(base: Path, words: dict[str, object]) -> None:
    lines, devices = [SLURM.format(**words)], []
    for i, node in enumerate(NODES, 1):
        for gpu in range(GPUS):
            os.mknod(base / "devices" / f"{node}-{gpu}", 0o020666, os.makedev(1, 3))
        devices.append(f"NodeName={node} Name=gpu Type=H100 File={base}/devices/{node}-[0-{GPUS - 1}]")
        lines.append(
            f"NodeName={node} NodeHostname={words['host']} NodeAddr=127.0.0.{i} Port={NODE_PORT + i} CPUs={CORES} "
            f"RealMemory={MEMORY_MB} Gres=gpu:H100:{GPUS} State=UNKNOWN"
        )
    lines.append(f"PartitionName=main Nodes={','.join(NODES)} Default=YES MaxTime=01:00:00 State=UP")
    (base / "slurm.conf").write_text("\n".join(lines) + "\n")
    (base / "gres.conf").write_text("\n".join(devices) + "\n")


def _node(base: Path, node: str, keep: list[Path]) -> None:
    """slurmd with a /tmp of its own."""
    (base / f"spool.{node}").mkdir()
    steps = namespace.own_tmp(base / f"tmp.{node}", keep)
    steps.append(f"exec slurmd -f {base}/slurm.conf -N {node}")
    _run("unshare", "--mount", "--propagation", "private", "bash", "-c", " && ".join(steps))


def _login(base: Path, home: Path, words: dict[str, object]) -> None:
    for key in ("host", "user"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", base / "ssh" / key)
    (base / "ssh" / "sshd_config").write_text(SSHD.format(**words))
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = shutil.which("sshd")
    assert sshd is not None
    _run(sshd, "-f", base / "ssh" / "sshd_config", "-E", base / "log" / "sshd.log")
    (home / ".slurm").mkdir()
    (home / ".slurm" / "config").write_text(CLIENT.format(**words))


def _idle() -> int:
    shown = subprocess.run(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], capture_output=True, text=True)
    return len(shown.stdout.split())


def _run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
