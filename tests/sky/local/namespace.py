"""A world of its own for everything that is started: no network but loopback, other /etc/hosts and home folder, and nothing outlives it.

Linux namespaces do it, so it needs root. When the first process ends, the kernel ends all others: daemons of Slurm, of SSH, of SkyPilot.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

#: Program -> Debian package.
PROGRAMS = {
    "slurmd": "slurmd",
    "slurmctld": "slurmctld",
    "srun": "slurm-client",
    "munged": "munge",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "unshare": "util-linux",
}
#: Names the folder of the world that a process is in.
INSIDE = "TENET_SKY_LOCAL"
UNSHARE = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
#: Seconds for each of apt-get's two calls.
APT_SECONDS = 120
#: Of linux/sockios.h, net/if.h and sys/mount.h.
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP_RUNNING = 0x8914, 0x8916, 0x41
MS_BIND, MS_REC = 0x1000, 0x4000


class Missing(Exception):
    """Something that this machine does not have; the message says what and why."""


def have_programs() -> None:
    """Find the programs, and install what is missing from Debian.

    Raises:
        Missing: not root, or a package cannot be installed.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Missing("namespaces and Slurm's daemons need Linux and root; run it in a container or as root")
    if importlib.util.find_spec("sky") is None or importlib.util.find_spec("hostlist") is None:
        raise Missing("skypilot[slurm] is not installed; `make install-test` installs it")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        _install(missing)
    _may_make_worlds()


def _install(packages: list[str]) -> None:
    if shutil.which("apt-get") is None:
        raise Missing(f"{', '.join(packages)} are not installed and there is no apt-get; install them with this system's tools")
    print(f"sky-local: installing {' '.join(packages)}", flush=True)
    # Their services must not start: this script starts the daemons it needs, with settings of its own.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]):
        try:
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=APT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Missing(f"`{' '.join(command)}` was not over after {APT_SECONDS} s") from None
        if done.returncode:
            raise Missing(f"`{' '.join(command)}` ended with {done.returncode}: {' '.join(done.stderr.split())[-300:]}")


def _may_make_worlds() -> None:
    """A container's root may lack the rights for namespaces or device files."""
    probe = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    if probe.returncode:
        raise Missing(f"namespaces are not allowed here: {probe.stderr.strip()[-200:]}")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        try:
            os.mknod(Path(folder) / "null", 0o020666, os.makedev(1, 3))
        except PermissionError as error:
            raise Missing(f"device files are not allowed here: {error.strerror}") from None


def enter(module: str, arguments: list[str], base: Path, seconds: float) -> int:
    """Start this module again inside, with its folder; gives its exit code.

    Raises:
        subprocess.TimeoutExpired: it was not over in time; nothing of it runs any more.
    """
    inside = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()} | {INSIDE: str(base)}
    return subprocess.run([*UNSHARE, sys.executable, "-m", module, *arguments], env=inside, timeout=seconds).returncode


def settle(base: Path, names: list[str]) -> None:
    """Bring loopback up, and give this world its own names of machines and home of root.

    Args:
        base: folder for the files; home becomes `base/home`.
        names: machines; number i gets 127.0.0.i, from 1 on.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
        # Without another address than 127.0.0.1, name lookups of Slurm (AI_ADDRCONFIG) hold that there is no IPv4 at all.
        second = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("127.0.0.2"))
        fcntl.ioctl(any_socket, SIOCSIFADDR, second)
    hosts = [
        "127.0.0.1 localhost",
        *(f"127.0.0.{i} {name}" for i, name in enumerate(names, 1)),
        f"127.0.0.1 {socket.gethostname()}",
    ]
    _over("/etc/hosts", base, "hosts", "\n".join(hosts) + "\n")
    lines = Path("/etc/passwd").read_text().splitlines()
    home = base / "home"
    home.mkdir(mode=0o700)
    fields = lines[0].split(":")
    assert fields[2] == "0", "the first line of /etc/passwd is root's"
    fields[5], fields[6] = str(home), "/bin/bash"
    _over("/etc/passwd", base, "passwd", "\n".join([":".join(fields), *lines[1:]]) + "\n")
    os.environ["HOME"] = str(home)


def _over(target: str, base: Path, name: str, text: str) -> None:
    (base / name).write_text(text)
    bind(str(base / name), target)


def bind(source: str, target: str) -> None:
    """`mount --bind`, seen by this world alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), None, MS_BIND | MS_REC, None):
        raise OSError(ctypes.get_errno(), f"bind {source} on {target}")
