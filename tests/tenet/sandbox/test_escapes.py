"""What code of unknown intentions tries, and that none of it succeeds: each program says ESCAPED where it got through, and the
machine is afterwards what it was before."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tenet.errors import ConfigError
from tenet.sandbox import client
from tenet.sandbox.client import judge, require, run_python, shut
from tenet.sandbox.limits import Limits, Outcome

SHORT = Limits(seconds=1.0, cpu_seconds=1)
SECRET = "s3cr3t-of-the-caller"

#: What programs share: a sentinel of the test's own, given as OUT, and a way to try things.
TRY = """
import ctypes, os, socket, sys
OUT, PARENT = {out!r}, os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, action):
    try:
        result = action()
    except Exception as error:
        return
    print("ESCAPED", name, repr(result)[:200])
def call(number, *args):
    libc.syscall.restype = ctypes.c_long
    if libc.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    try:
        require()
    except ConfigError as error:
        pytest.skip(str(error))


def processes(folders: Iterable[Path] = ()) -> set[int]:
    """Those of our zygotes and those that were forked from them: a fork has the command line of its origin, and each names a
    folder of its own."""
    places = [os.fsencode(folder) for folder in folders or [zygote.folder for zygote in client._kept]]
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and any(place in (entry / "cmdline").read_bytes() for place in places):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the caller's that must stay as it is, and processes as they are."""
    monkeypatch.setenv("SECRET", SECRET)
    (tmp_path / "kept.txt").write_text(SECRET)
    os.chmod(tmp_path / "kept.txt", 0o640)
    require()
    before, stat = processes(), (tmp_path / "kept.txt").stat()
    assert len(before) == 1
    yield tmp_path
    assert processes() == before
    after = (tmp_path / "kept.txt").stat()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == SECRET
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns, after.st_nlink) == (
        stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_nlink,
    )  # fmt: skip


def tried(program: str, outside: Path, limits: Limits = SHORT) -> Outcome:
    outcome = run_python(TRY.format(out=str(outside)) + program, limits=limits)
    assert "ESCAPED" not in outcome.stdout, outcome.stdout
    assert SECRET not in outcome.stdout + outcome.stderr
    assert outcome.isolated
    return outcome


def test_fork_bomb(outside: Path) -> None:
    outcome = tried("while True: os.fork()", outside)
    assert outcome.status == "failed"
    assert "PermissionError" in outcome.stderr


def test_four_gigabytes(outside: Path) -> None:
    outcome = tried("kept = bytearray(4 << 30); print('ESCAPED')", outside)
    assert outcome.status == "memory"
    assert outcome.seconds < 1


def test_memory_in_small_pieces(outside: Path) -> None:
    outcome = tried("kept = []\nwhile True: kept.append(bytearray(1 << 20))", outside, Limits(memory=128 << 20))
    assert outcome.status == "memory"


def test_network(outside: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        tried(
            f"""
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]})))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("six", lambda: socket.socket(socket.AF_INET6))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK))
attempt("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
""",
            outside,
        )
        with pytest.raises(TimeoutError):
            server.accept()


def test_unix_sockets(outside: Path) -> None:
    name = f"\0tenet-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        server.settimeout(0.2)
        tried(
            f"""
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect({name!r}))
pair = socket.socketpair()
attempt("an end of a pair", lambda: pair[0].connect({name!r}))
attempt("bind", lambda: pair[0].bind("door"))
""",
            outside,
        )
        with pytest.raises(TimeoutError):
            server.accept()


def test_writes_outside(outside: Path) -> None:
    tried(
        """
for place in (OUT, "/tmp", "/var/tmp", "/dev/shm", os.path.expanduser("~root"), "/", "/etc", os.path.dirname(os.getcwd())):
    attempt(place, lambda: open(place + "/written-by-a-program", "w").write("x"))
    attempt(place, lambda: os.mkdir(place + "/made-by-a-program"))
attempt("append", lambda: open(OUT + "/kept.txt", "a").write("x"))
attempt("truncate", lambda: os.truncate(OUT + "/kept.txt", 0))
attempt("truncate by reading", lambda: os.open(os.__file__, os.O_RDONLY | os.O_TRUNC))
attempt("unlink", lambda: os.unlink(OUT + "/kept.txt"))
attempt("rename", lambda: os.rename(OUT + "/kept.txt", OUT + "/moved.txt"))
attempt("move in", lambda: os.rename(OUT + "/kept.txt", "mine.txt"))
open("own.txt", "w").write("x")
attempt("move out", lambda: os.rename("own.txt", OUT + "/own.txt"))
attempt("link in", lambda: os.link(OUT + "/kept.txt", "mine.txt"))
attempt("link out", lambda: os.link("own.txt", OUT + "/own.txt"))
attempt("library", lambda: open(os.__file__, "a"))
""",
        outside,
    )


def test_modes_owners_and_times(outside: Path) -> None:
    tried(
        """
kept = OUT + "/kept.txt"
attempt("chmod", lambda: os.chmod(kept, 0o777))
attempt("fchmodat2", lambda: call(452, -100, kept.encode(), 0o777, 0))
attempt("chown", lambda: os.chown(kept, 0, 0))
attempt("utime", lambda: os.utime(kept, (0, 0)))
attempt("xattr", lambda: os.setxattr(kept, "user.x", b"x"))
attempt("device", lambda: os.mknod("disk", 0o060600, os.makedev(254, 0)))
""",
        outside,
    )


def test_reads_outside(outside: Path) -> None:
    tried(
        """
for place in (OUT + "/kept.txt", "/etc/passwd", "/etc/shadow", os.path.expanduser("~root") + "/.bashrc", "/proc/self/environ"):
    attempt(place, lambda: open(place).read())
for place in (OUT, "/", "/etc", "/proc", "/home", "/root", "/tmp"):
    attempt(place, lambda: os.listdir(place))
attempt("site-packages", lambda: open(os.path.dirname(os.__file__) + "/site-packages/README.txt").read())
""",
        outside,
    )


def test_symlinks_out(outside: Path) -> None:
    tried(
        """
os.symlink(OUT, "door")
os.symlink(OUT + "/kept.txt", "file")
os.symlink("/", "root")
attempt("read", lambda: open("file").read())
attempt("write", lambda: open("file", "w"))
attempt("list", lambda: os.listdir("door"))
attempt("make", lambda: open("door/new.txt", "w"))
attempt("through root", lambda: open("root" + OUT + "/kept.txt").read())
os.mkdir("deep"); os.symlink(OUT, "deep/door")
""",
        outside,
    )


def test_environment_and_memory_of_the_parent(outside: Path) -> None:
    tried(
        """
if any("s3cr3t" in value for value in os.environ.values()): print("ESCAPED environment")
attempt("environ", lambda: open(f"/proc/{PARENT}/environ", "rb").read())
attempt("mem", lambda: open(f"/proc/{PARENT}/mem", "rb"))
attempt("maps", lambda: open(f"/proc/{PARENT}/maps").read())
attempt("fds", lambda: os.listdir(f"/proc/{PARENT}/fd"))
class Vector(ctypes.Structure): _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(8)
here, there = Vector(ctypes.addressof(buffer), 8), Vector(ctypes.addressof(buffer), 8)
attempt("process_vm_readv", lambda: call(310, PARENT, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
attempt("ptrace attach", lambda: call(101, 16, PARENT, 0, 0))
attempt("ptrace seize", lambda: call(101, 0x4206, PARENT, 0, 0))
attempt("pidfd", lambda: os.pidfd_open(PARENT))
""",
        outside,
    )


def test_signals_to_others(outside: Path) -> None:
    outcome = tried(
        """
import fcntl, signal
for target in (PARENT, -1, 0, -PARENT, 1, os.getpid() - 1):
    attempt(f"kill {target}", lambda: os.kill(target, 0))
attempt("killpg", lambda: os.killpg(os.getpgid(PARENT), 0))
attempt("tgkill", lambda: call(234, PARENT, PARENT, 9))
attempt("tkill", lambda: call(200, PARENT, 9))
reader, writer = os.pipe()
attempt("owner of a pipe", lambda: fcntl.fcntl(reader, fcntl.F_SETOWN, PARENT))
attempt("signal of a pipe", lambda: fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGKILL))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 19))
attempt("affinity", lambda: os.sched_setaffinity(PARENT, {0}))
attempt("limits", lambda: call(302, PARENT, 0, ctypes.create_string_buffer(16), None))
signal.raise_signal(signal.SIGUSR1)
""",
        outside,
    )
    assert outcome.exit_code == -10  # to itself it may send what it likes


def test_a_process_that_lives_on(outside: Path) -> None:
    tried(
        """
import subprocess, multiprocessing
def leave():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import time; time.sleep(60)
        os._exit(0)
attempt("double fork", leave)
attempt("subprocess", lambda: subprocess.Popen(["sleep", "60"]))
attempt("shell", lambda: 1 / (os.system("sleep 60 &") == 0))
attempt("spawn", lambda: os.posix_spawn("/bin/sleep", ["sleep", "60"], {}))
attempt("vfork", lambda: call(58))
attempt("clone", lambda: call(56, 17, 0, 0, 0, 0))
attempt("clone3", lambda: call(435, ctypes.create_string_buffer(88), 88))
attempt("multiprocessing", lambda: multiprocessing.get_context("fork").Process(target=print).start())
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
""",
        outside,
    )


def test_threads_that_live_on(outside: Path) -> None:
    began = time.monotonic()
    outcome = tried(
        """
import threading, time
for _ in range(5): threading.Thread(target=time.sleep, args=(60,)).start()
""",
        outside,
    )
    assert outcome.status == "timeout"
    assert time.monotonic() - began < 2


def test_too_many_threads(outside: Path) -> None:
    outcome = tried(
        """
import threading, time
threading.stack_size(65536)
while True: threading.Thread(target=time.sleep, args=(60,)).start()
""",
        outside,
        Limits(seconds=5, cpu_seconds=5),
    )
    assert outcome.status in ("threads", "memory", "failed")
    assert outcome.seconds < 4


@pytest.mark.parametrize("stream", ["sys.stdout", "sys.stderr"])
def test_floods_of_output(stream: str, outside: Path) -> None:
    outcome = tried(f"while True: print('x' * 10000, file={stream})", outside, Limits(seconds=5, cpu_seconds=5))
    assert outcome.status in ("output", "failed")
    assert len(outcome.stdout) + len(outcome.stderr) <= 2 * Limits().output + 1000
    assert outcome.seconds < 4


def test_filling_the_disk(outside: Path) -> None:
    many = tried(
        "for i in range(10 ** 6):\n  with open(f'{i}', 'wb') as file: file.write(b'x' * (1 << 20))",
        outside,
        Limits(seconds=5, cpu_seconds=5),
    )
    assert many.status == "disk"
    large = tried("with open('one', 'wb') as file:\n  while True: file.write(bytes(1 << 20))", outside)
    assert "File too large" in large.stderr
    deep = tried("while True: os.mkdir('d'); os.chdir('d')", outside, Limits(seconds=5, cpu_seconds=5))
    assert deep.status in ("disk", "failed")
    assert run_python("import os; print(os.listdir())").stdout == "[]\n"


def test_masked_signals(outside: Path) -> None:
    outcome = tried(
        """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
time.sleep(60)
""",
        outside,
    )
    assert outcome.status == "timeout"
    spinning = tried("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", outside)
    assert spinning.status == "timeout"


def test_crashes(outside: Path) -> None:
    assert tried("ctypes.string_at(0)", outside).reason == "it was ended by signal 11"
    assert "RecursionError" in tried("def down(): down()\ndown()", outside).stderr
    assert tried("sys.setrecursionlimit(10 ** 8)\ndef down(x): return [down([x])]\ndown(0)", outside).status in (
        "killed", "memory", "timeout", "failed",
    )  # fmt: skip


def test_doors_of_the_kernel(outside: Path) -> None:
    tried(
        """
numbers = {"io_uring_setup": 425, "memfd_create": 319, "userfaultfd": 323, "bpf": 321, "perf_event_open": 298, "unshare": 272,
    "setns": 308, "mount": 165, "pivot_root": 155, "chroot": 161, "keyctl": 250, "shmget": 29, "mq_open": 240, "open_by_handle_at": 304,
    "init_module": 175, "kexec_load": 246, "reboot": 169, "swapon": 167, "inotify_init1": 294, "fanotify_init": 300, "acct": 163,
    "landlock_restrict_self": 446, "seccomp": 317, "setuid": 105, "capset": 126, "personality": 135, "pidfd_getfd": 438}
for name, number in numbers.items():
    attempt(name, lambda: call(number, 0, 0, 0, 0, 0))
attempt("x32", lambda: call(0x40000000 + 41, 2, 1, 0))
attempt("dumpable", lambda: 1 / (libc.prctl(4, 1, 0, 0, 0) == 0))
attempt("outlive the parent", lambda: 1 / (libc.prctl(1, 0, 0, 0, 0) == 0))
import resource
attempt("memory", lambda: resource.setrlimit(resource.RLIMIT_AS, (-1, -1)))
attempt("time", lambda: resource.setrlimit(resource.RLIMIT_CPU, (-1, -1)))
""",
        outside,
    )


def test_the_other_instruction_set(outside: Path) -> None:
    """int 0x80 reaches the table of 32-bit calls, which has other numbers: the process ends there and then."""
    if os.uname().machine != "x86_64":
        pytest.skip("there is no such instruction on this machine")
    outcome = tried(
        """
import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000" "cd80" "c3"))  # getpid, as 32-bit programs ask
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
print("ESCAPED")
""",
        outside,
    )
    assert outcome.status == "killed"


def test_one_program_sees_nothing_of_another(outside: Path) -> None:
    """Neither files nor what is left in memory: the process that all are forked from never held it."""
    word = "kumquat" * 3
    run_python(f"open('left.txt', 'w').write({word!r}); print({word!r})", stdin=word)
    judge(f"answer = {word!r}", asserts=[f"assert answer == {word!r}"])
    seen = tried(
        """
import gc
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
word, own, frame = "".join(["kum", "quat"]), globals(), sys._getframe()
while frame := frame.f_back:
    if any(word in repr(value) for value in frame.f_locals.values()): print("ESCAPED frame")
for thing in gc.get_objects():
    if isinstance(thing, (dict, list, tuple)) and thing is not own and word in str(list(thing) + list(getattr(thing, "values", list)()))[:10000]:
        print("ESCAPED", type(thing))
print(os.listdir(), [number for number in range(64) if is_open(number)])
""",
        outside,
        Limits(),
    )
    assert seen.stdout == "[] [0, 1, 2]\n"


def test_two_at_a_time() -> None:
    """Threads of the caller run programs side by side, each in a folder of its own, and nothing is left when it is done."""
    results: dict[int, str] = {}
    both = threading.Barrier(2)
    program = "import os, time; open('mine', 'w').write('{0}'); time.sleep(0.5); print(os.listdir(), open('mine').read())"

    def work(number: int) -> None:
        require()
        both.wait()
        results[number] = run_python(program.format(number)).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: "['mine'] 0\n", 1: "['mine'] 1\n"}
    folders = [zygote.folder for zygote in client._kept]
    assert len(processes()) == len(folders) == 2
    shut()
    assert not processes(folders)
    assert not any(folder.exists() for folder in folders)
