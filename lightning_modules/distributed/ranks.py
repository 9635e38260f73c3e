"""Several processes that train one model: who this one is, and how they agree.

torchrun says who is who through the environment (RANK, WORLD_SIZE). With one process every function here answers at
once, so no caller asks how many there are. Words between processes (a result, a signal, a count) travel over gloo on
the CPU; gradients use the group that Lightning and FSDP2 find, which is nccl on GPUs. Free of torch until the first
process group is joined.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")
#: How long a process waits for another: the first one may evaluate for hours, and one that dies closes its connection,
#: which ends the wait.
PATIENCE = timedelta(days=7)
#: Seconds that a failing process stays for the others to hear why.
LAST_WORDS = 10.0
_control: Any = None


def rank() -> int:
    """Number of this process; 0 is the one that writes."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Processes in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world() -> int:
    """Processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", str(world())))


def is_first() -> bool:
    """Whether this process writes files and speaks."""
    return rank() == 0


def join() -> None:
    """Meet the other processes; once in the life of a process, nothing when it is alone."""
    global _control
    if world() == 1 or _control is not None:
        return
    import atexit

    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(lambda: dist.destroy_process_group() if dist.is_initialized() else None)
    _control = dist.new_group(backend="gloo", timeout=PATIENCE)


def gather(value: T) -> list[T]:
    """The value of every process, in their order, on every process. Must be called by all."""
    if world() == 1:
        return [value]
    import torch.distributed as dist

    out: list[Any] = [None] * world()
    dist.all_gather_object(out, value, group=_control)
    return out


def agree(value: T) -> T:
    """The first process's value, on every process."""
    if world() == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0, group=_control)
    return box[0]


def on_first(work: Callable[[], T]) -> T:
    """Let the first process do something alone and give its result, or its error, to all.

    Raises:
        what `work` raised; on the other processes it carries `relayed`, so that it is told once.
    """
    if world() == 1:
        return work()
    result: T | None = None
    error: Exception | None = None
    if is_first():
        try:
            result = work()
        except Exception as caught:
            error = _portable(caught)
    result, error = agree((result, error))
    if error is not None:
        error.relayed = not is_first()  # type: ignore[attr-defined]
        raise error
    return result  # type: ignore[return-value]


def first_error(error: Exception) -> Exception:
    """The error that this process should end with: its own, or the one of another process that came before it.

    A process that fails closes its connections, and the others fail in turn with words about sockets. So the first one
    leaves its error in the launcher's store, and the others take it from there.
    """
    if world() == 1 or hasattr(error, "relayed"):
        return error
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    store = distributed_c10d._get_default_store()
    mine = pickle.dumps((rank(), _portable(error))).hex()
    try:
        number, first = pickle.loads(bytes.fromhex(store.compare_set("first_error", "", mine).decode()))
    except RuntimeError:  # the store is gone with the process that held it
        return error
    if number != rank():
        store.add("first_error_read", 1)
        first.relayed = True
        return first  # type: ignore[no-any-return]
    if lost_a_process(error):
        return error  # every process sees that by itself
    # Whoever waits for this process is woken by the end of its connections. It may hold the store, so it stays until
    # the others have read it.
    global _control
    _control = None
    dist.destroy_process_group()
    deadline = time.monotonic() + LAST_WORDS
    while store.add("first_error_read", 0) < world() - 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    return error


def lost_a_process(error: Exception) -> bool:
    """Whether an error is gloo's or NCCL's way to say that another process is gone."""
    return (
        world() > 1 and isinstance(error, RuntimeError) and any(w in str(error).lower() for w in ("gloo", "nccl", "connection"))
    )


def _portable(error: Exception) -> Exception:
    """As it is, where it can be sent."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def totals(*values: float) -> list[float]:
    """Sums over the processes."""
    if world() == 1:
        return list(values)
    import torch
    import torch.distributed as dist

    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums, group=_control)
    return [float(v) for v in sums]


def any_of(flag: bool) -> bool:
    """Whether it is so on any process."""
    return totals(float(flag))[0] > 0


def own(items: Sequence[T], number: int | None = None, of: int | None = None) -> list[T]:
    """A process's share: every `of`-th item, from its own number on.

    Fewer items than processes are repeated, all of them equally often: nobody is without work, and a mean over all
    shares is still the mean.
    """
    number, of = rank() if number is None else number, of or world()
    times = -(-of // len(items)) if 0 < len(items) < of else 1
    return (list(items) * times)[number::of]
