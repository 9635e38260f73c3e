"""`tenet netcheck`: how fast the processes that torchrun started can add up a tensor, before a run depends on it.

A network that gives a quarter of what is paid for does not fail: every step is just slower. The figure is the bus
bandwidth of NVIDIA's nccl-tests: bytes of the message, times 2 (n - 1) / n for n processes, over the seconds that an
all-reduce takes. It says how busy the slowest link is, so it can be compared with the hardware whatever the number of
processes.

    python -m tenet.torchrun --nproc-per-node 8 -m tenet.cli netcheck --instance p5.48xlarge
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from lightning_modules.distributed import ranks
from tenet import hardware
from tenet.errors import ConfigError, StageError

#: Messages, MiB: small ones show latency, large ones bandwidth.
SIZES = (1, 4, 16, 64, 256, 1024)
#: Calls that are timed, after as many that are not; the first ones make connections.
CALLS = 5
#: Seconds until a file must have reached the other machines.
PATIENCE = 20.0
MIB = 2**20


def netcheck(
    instance: str,
    at_least: float,
    gbytes: float,
    largest: int,
    folder: str,
    say: Callable[[str], None],
    sizes: tuple[int, ...] = SIZES,
) -> float:
    """Measure, print a table on the first process, and compare the best of it with what is expected.

    Args:
        instance: EC2 type whose links are expected; empty expects nothing.
        at_least: share of it that is enough, 0 to 1.
        gbytes: GB/s of bus bandwidth that are expected instead of the instance's.
        largest: MiB of the largest message; 0 takes 1024 on GPUs and 64 on CPUs, whose network is slower than their
            memory is large.
        folder: a folder that all processes must see alike; empty looks at none.
        say: is given each line.
        sizes: messages, MiB.

    Returns:
        the highest bus bandwidth, GB/s; 0 with one process.

    Raises:
        ConfigError: a setting makes no sense.
        StageError: less than the share was reached, or a process does not see the others' files.
    """
    wanted = expected(instance, gbytes)
    if not 0 < at_least <= 1:
        raise ConfigError(f"--at-least is {at_least}; it is a share of the expected bandwidth, above 0 and at most 1")
    if largest < 0:
        raise ConfigError(f"--largest is {largest} MiB; give at least {min(sizes)}, or 0 for the default")
    if ranks.world() == 1:
        say("netcheck: one process, no network to measure")
        return 0.0
    ranks.join()
    tell = say if ranks.is_first() else (lambda _: None)
    if folder:
        _shared(Path(folder))
        tell(f"netcheck: {ranks.world()} processes see the same files in {folder}")
    tell(f"{'MiB':>6} {'ms':>10} {'GB/s bus':>10}    all-reduce of fp32, {ranks.world()} processes, {_backend()}")
    best = 0.0
    limit = largest or (1024 if _backend() == "nccl" else 64)
    for size in (size for size in sizes if size <= limit):
        seconds = _time(size)
        reached = bus_bandwidth(size * MIB, seconds, ranks.world())
        tell(f"{size:>6} {seconds * 1e3:>10.3f} {reached:>10.2f}")
        best = max(best, reached)
    ranks.on_first(lambda: _compare(best, wanted, at_least, instance or "--gbytes", say))
    return best


def _compare(best: float, wanted: float, at_least: float, name: str, say: Callable[[str], None]) -> None:
    if not wanted:
        return
    said = f"{best:.2f} GB/s is {best / wanted:.0%} of {wanted:.2f} GB/s ({name})"
    if best < at_least * wanted:
        raise StageError(
            f"the network reached {said}; at least {at_least:.0%} is asked for. Look for missing EFA cards (fi_info -p efa), for "
            "NCCL_DEBUG=INFO lines that name sockets instead of the AWS plugin, and for nodes in different placement groups"
        )
    say(f"netcheck: {said}")


def bus_bandwidth(size: float, seconds: float, processes: int) -> float:
    """GB/s through the busiest link, as nccl-tests count it.

    Args:
        size: bytes of the message; seconds: of one all-reduce; processes: how many took part.
    """
    return size / seconds * 2 * (processes - 1) / processes / 1e9


def expected(instance: str, gbytes: float) -> float:
    """GB/s of bus bandwidth to compare with; 0 expects nothing.

    A ring over several machines enters and leaves each machine once, through all its cards. Within one machine it is
    bound by the link of one device.

    Raises:
        ConfigError: no such instance, or a negative figure.
    """
    if gbytes < 0:
        raise ConfigError(f"--gbytes is {gbytes}; give GB/s above 0, or 0 to take the instance's")
    if gbytes or not instance:
        return gbytes
    machine = hardware.instance(instance, "--instance")
    if ranks.world() > ranks.local_world():
        return machine.network / 8
    return machine.device.link / 1e9


def _backend() -> str:
    import torch

    return "nccl" if torch.cuda.is_available() else "gloo"


def _time(size: int) -> float:
    """Seconds of one all-reduce of `size` MiB: the slowest process's mean."""
    import torch
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    tensor = torch.zeros(size * MIB // 4, device="cuda" if cuda else "cpu")

    def several() -> float:
        dist.barrier()
        start = time.perf_counter()
        for _ in range(CALLS):
            dist.all_reduce(tensor)
        if cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / CALLS

    several()
    return max(ranks.gather(several()))


def _shared(folder: Path) -> None:
    """Every process writes a file and waits until it sees all of them."""
    mark = ranks.agree(f".netcheck-{os.getpid()}-{time.time_ns()}")
    mine = folder / f"{mark}-{ranks.rank()}"
    error = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mine.touch()
    except OSError as problem:
        error = f"process {ranks.rank()} cannot write there: {problem}"
    problems = [text for text in ranks.gather(error) if text]
    missing: list[int] = []
    if not problems:
        deadline = time.monotonic() + PATIENCE
        while True:
            missing = [n for n in range(ranks.world()) if f"{mark}-{n}" not in os.listdir(folder)]
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        problems = [f"process {n} does not see the files of {lost}" for n, lost in enumerate(ranks.gather(missing)) if lost]
    mine.unlink(missing_ok=True)
    if problems:
        raise StageError(
            f"{folder} is not one folder for all processes: {problems[0]}. Give a disk that all nodes mount (docs/scale.md)"
        )
