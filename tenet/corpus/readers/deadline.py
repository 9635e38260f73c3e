"""A time-out for one record, so that a page made to stall a parser costs seconds and not the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

from tenet.corpus.readers.decoding import NotRead
from tenet.errors import TenetError

#: Seconds that one record may take, and how many bytes get one more.
SECONDS = 20.0
BYTES_A_SECOND = 1_000_000
_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Late(BaseException):
    """No parser's `except Exception` may catch this one."""


def _late(number: int, frame: FrameType | None) -> None:
    raise _Late


def within(size: int, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The result of a call that may take `SECONDS`, and one more for each megabyte of its input.

    The clock is a timer signal, which Python delivers to the main thread alone (where every worker reads): in another
    thread, and on systems without `setitimer`, the call has no limit. Code in C is interrupted when it comes back.

    Raises:
        NotRead: it took longer, or the parser failed: one record of a stranger's must not end a run, whatever it raises.
    """
    clocked = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    limit = SECONDS + size / BYTES_A_SECOND
    try:
        if not clocked:
            return call(*args, **kwargs)
        before = signal.signal(signal.SIGALRM, _late)
        rest = signal.setitimer(signal.ITIMER_REAL, limit, 1.0)  # again each second, where a finaliser swallowed it
        try:
            return call(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, *rest)
            signal.signal(signal.SIGALRM, before)
    except _Late:
        raise NotRead(f"took longer than {limit:.0f} s") from None
    except (NotRead, TenetError):
        raise
    except RecursionError:
        raise NotRead("nested too deeply") from None
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        said = str(error).strip().splitlines()
        raise NotRead(f"cannot be read ({type(error).__name__}{': ' + said[0][:120] if said else ''})") from None


def is_panic(error: BaseException) -> bool:
    """Whether a parser in Rust gave up; its exception is no `Exception`, so that nobody catches it by chance."""
    return type(error).__name__ == "PanicException"
