"""A world of its own for everything that is started: no network but loopback, other /etc/hosts, /run, /tmp and home
folder; nothing outlives it.

Linux namespaces do it, so it needs root. When the first process ends, the kernel ends all others: daemons of Slurm, of
SSH, of SkyPilot.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
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
#: Is there where systemd runs this machine.
SYSTEMD = Path("/run/systemd/system")
INSIDE = "TENET_SKY_LOCAL"
WORLD = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
#: What the launches need of a machine: SkyPilot's command line, twice at the same time, in so many seconds (they start
#: it some forty times; eight minutes hold 1.9 s well and 4.7 s not), and this memory must be free.
SLOWER, MEMORY = 3.5, 3 * 2**30
#: Seconds that `make test` may have taken (the Makefile says when it began): all of CI has to end within 25 minutes.
BEGAN, BEFORE = "TENET_TESTS_BEGAN", 780
#: Seconds for Debian's lists and packages to come over the network, together.
DOWNLOAD = 90
#: Seconds that the inside has to end by itself, with its logs, before it is killed.
GRACE = 20
#: Of linux/sockios.h, net/if.h and sys/mount.h.
SIOCSIFFLAGS, SIOCSIFADDR, IFF_UP_RUNNING = 0x8914, 0x8916, 0x41
MS_BIND, MS_REC = 0x1000, 0x4000


class Missing(Exception):
    """Something that this machine does not have; the message says what and why."""


def have_programs(programs: Mapping[str, str] = PROGRAMS, modules: Iterable[str] = ("sky", "hostlist")) -> None:
    """Find the programs, and install what is missing from Debian.

    Args:
        programs: program, or file -> Debian package.
        modules: of Python that are needed.

    Raises:
        Missing: not root, a package cannot be installed, or the kernel gives no namespaces.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Missing("namespaces and daemons need Linux and root; run it in a container or as root")
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise Missing("SkyPilot is not installed for it; `make install-test` installs it")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = sorted({package for program, package in programs.items() if shutil.which(program) is None})
    if missing:
        _install(missing)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        # What this world is made of, once: mounts, device files, an interface that can be brought up.
        steps = f"mount -t tmpfs none /run && mount --bind {folder} /tmp && mknod {folder}/null c 1 3"
        tried = subprocess.run([*WORLD, "sh", "-c", steps], capture_output=True, text=True, timeout=30)
    if tried.returncode:
        raise Missing(f"no namespaces, mounts or device files here ({_end(tried.stderr)}); in a container it takes --privileged")


def have_room() -> None:
    """Whether the machine is fast and free enough: on a starved one, daemons miss deadlines that are not ours.

    Raises:
        Missing: other work has the processors or the memory, the processors are slow, or the tests before took long.
    """
    taken = time.time() - float(os.environ.get(BEGAN) or time.time())
    if taken > BEFORE:
        raise Missing(
            f"installation and tests took {taken:.0f} s, and {BEFORE} s are the most that leave time for it; "
            "`make sky-local` runs it alone"
        )
    start = [sys.executable, "-c", "from sky.cli import cli"]
    for _ in range(2):  # the first time reads files
        begun = time.monotonic()
        for process in [subprocess.Popen(start) for _ in range(2)]:
            process.wait()
        taken = time.monotonic() - begun
    if taken > SLOWER:
        raise Missing(
            f"two of SkyPilot's commands at the same time take {taken:.1f} s here, and {SLOWER} s is the most that eight minutes are "
            "made for; `python -m tests.sky.local --patience 2` takes its time"
        )
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(memory["MemAvailable"].split()[0]) * 1024
    if free < MEMORY:
        raise Missing(f"{free / 2**30:.1f} GiB of memory are free and {MEMORY / 2**30:.0f} are needed")


def _install(packages: list[str]) -> None:
    way = f"`apt-get install {' '.join(packages)}`"
    if shutil.which("apt-get") is None:
        raise Missing(f"{', '.join(packages)} are not installed and there is no apt-get; install them with this system's tools")
    if SYSTEMD.exists():
        raise Missing(
            f"{', '.join(packages)} are not installed, and systemd would start their services; {way} is yours to decide"
        )
    print(f"sky-local: installing {' '.join(packages)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15"]
    install = [*apt, "install", "-y", "--no-install-recommends"]
    deadline = time.monotonic() + DOWNLOAD
    # Only what waits for a network has a limit: an installation that is cut in the middle leaves packages half set up.
    for command, limited in (
        ([*apt, "update"], True),
        ([*install, "--download-only", *packages], True),
        ([*install, "--no-download", *packages], False),
    ):
        try:
            left = max(1.0, deadline - time.monotonic()) if limited else None
            done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            raise Missing(f"Debian's packages did not come within {DOWNLOAD} s; {way} where there is a network") from None
        if done.returncode:
            raise Missing(f"Debian's packages cannot be installed ({_end(done.stderr)}); {way} where there is a network")


def _end(text: str) -> str:
    return text.strip().splitlines()[-1][-200:] if text.strip() else "without a word"


def enter(module: str, arguments: list[str], seconds: float, keep: bool = False, own_net: bool = True) -> int:
    """Start this module again inside; the folder of that world is taken away when it has ended.

    Args:
        module: is given `arguments`, and the folder by the variable `INSIDE`.
        seconds: after them, and some more to tell why, all of it is killed.
        keep: leave the folder.
        own_net: nothing is reached but what runs inside.

    Returns:
        its exit code, or 1 where it was killed or left something behind.
    """
    # Not in /tmp: nodes have one of their own.
    base = Path(tempfile.mkdtemp(prefix="tenet-sky-", dir="/var/tmp"))
    base.chmod(0o755)
    inside = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()} | {INSIDE: str(base)}
    before = _outside()
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Killed with this process, whatever that dies of.
    world_words = [word for word in WORLD if own_net or word != "--net"]
    command = ["setpriv", "--pdeathsig", "KILL", *world_words, sys.executable, "-m", module, *arguments]
    world = subprocess.Popen(command, env=inside)
    try:
        code = world.wait(timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        print(f"sky-local: killed after {seconds + GRACE:.0f} s\n{log_ends(base)}", file=sys.stderr, flush=True)
        code = 1
    finally:
        _end_world(world)
        if keep:
            print(f"sky-local: kept {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
        signal.signal(signal.SIGTERM, former)
    changed = [path for path, value in _outside().items() if value != before[path]]
    if base.exists() and not keep:
        changed.append(str(base))
    if changed:
        print(f"sky-local: left behind or changed: {', '.join(changed)}", file=sys.stderr)
    return 1 if changed else code


def _end_world(world: subprocess.Popen[bytes]) -> None:
    """Kill its first process and wait: the kernel lets that one end as the last of all."""
    if world.poll() is None:
        for pid in Path(f"/proc/{world.pid}/task/{world.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
    try:
        world.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        world.kill()
        world.wait()


def _outside() -> dict[str, str]:
    """What SkyPilot and daemons would change of a machine, by hash."""
    home = Path.home()
    names = ("/etc/hosts", "/etc/passwd", "/run/sshd", home / ".bashrc", home / ".slurm/config", home / ".ssh/config")
    paths = [Path(name) for name in (*names, home / ".ssh/authorized_keys", home / ".sky/config.yaml")]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else str(p.exists()) for p in paths}


def log_ends(base: Path, files: int = 4, lines: int = 12) -> str:
    """Last lines of the logs that were written last."""
    logs = [path for pattern in ("log/*.log", "home/.sky/**/*.log", "home/sky_logs/**/*.log") for path in base.glob(pattern)]
    newest = sorted((path for path in logs if path.is_file()), key=lambda path: path.stat().st_mtime)[-files:]
    parts = [[f"--- {p.relative_to(base)}", *p.read_text(errors="replace").splitlines()[-lines:]] for p in newest]
    return "\n".join(line[:300] for part in parts for line in part)


def settle(base: Path, names: list[str], keep: list[Path], own_net: bool = True) -> None:
    """Bring loopback up where the network is its own, and give this world its own names of machines, /run, /tmp and
    home of root.

    Args:
        base: folder for the files; home becomes `base/home`.
        names: machines; number i gets 127.0.0.i, from 1 on.
        keep: folders that must be seen even if they lie in /tmp.
        own_net: as `enter` was told.
    """
    if own_net:
        _loopback()
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
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    for step in own_tmp(base / "tmp", keep):
        subprocess.run(step.split(), check=True)


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
        # Without another address than 127.0.0.1, name lookups of Slurm (AI_ADDRCONFIG) hold that there is no IPv4 at
        # all.
        second = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("127.0.0.2"))
        fcntl.ioctl(any_socket, SIOCSIFADDR, second)


def own_tmp(folder: Path, keep: list[Path]) -> list[str]:
    """Commands that put a new folder over /tmp; what is kept is put into it first, so that it is still there.

    Args:
        folder: is made here, with the folders that are kept.
        keep: only those under /tmp matter.
    """
    folder.mkdir()
    folder.chmod(0o1777)
    steps = []
    for path in (path for path in keep if path.is_relative_to("/tmp")):
        inside = folder / path.relative_to("/tmp")
        inside.mkdir(parents=True, exist_ok=True)
        steps.append(f"mount --rbind {path} {inside}")
    return [*steps, f"mount --rbind {folder} /tmp"]


def _over(target: str, base: Path, name: str, text: str) -> None:
    (base / name).write_text(text)
    bind(str(base / name), target)


def bind(source: str, target: str) -> None:
    """`mount --bind`, seen by this world alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), None, MS_BIND | MS_REC, None):
        raise OSError(ctypes.get_errno(), f"bind {source} on {target}")
