"""What the command line finds around it, put right before anything else is done.

Encodings that cannot hold a name, pipes that close, variables that are set to nothing, proxies that
stand before this very machine, and the signals that end a job.
"""

import atexit
import errno
import io
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

_FOLDERS = (
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "PREFECT_HOME"),
)
"""Variables that name a folder; set to nothing, libraries would take the present one."""

_HERE = "localhost,127.0.0.1,::1"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)

GRACE_SECONDS = 8.0
"""How long stopping may take, which is a second as a rule: schedulers kill after ten or more."""
AGAIN_SECONDS = 0.05
"""After which a stop that was lost comes once more: long enough to be out of where it was lost."""

_watching = 0
_stopped_by: signal.Signals | None = None
_at_last: Callable[[], object] | None = None
_last_words: list[Callable[[], object]] = []


def settle() -> None:
    """Puts right what this process was started with; starts it anew if its encoding needs that."""
    _speak_utf8()
    # What a stop leaves, multiprocessing cleans up; that it does need not be told.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker:UserWarning")
    sys.stdout, sys.stderr = _lasting(sys.stdout, "stdout"), _lasting(sys.stderr, "stderr")
    _forget_nothings()
    _clear_the_way()


def _speak_utf8() -> None:
    """Has names of files and what is printed in UTF-8, whatever the locale: a corpus is in it."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class _Lasting(io.FileIO):
    """A stream that may lose its reader: what is written then goes nowhere, and work goes on."""

    def write(self, data: object) -> int:
        """Writes bytes; fails once if there is no room for them, and never again."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            hung_up = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno != errno.EPIPE and not hung_up:
                raise
        return super().write(data)  # type: ignore[arg-type]


def _lasting(stream: TextIO | None, name: str) -> TextIO:
    if stream is None:  # closed by who started us
        return Path(os.devnull).open("w", encoding="utf-8")
    if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody else's
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _forget_nothings() -> None:
    """Takes variables that name no folder for what they are: not set."""
    for name in _FOLDERS:
        if name in os.environ and not os.environ[name].strip():
            del os.environ[name]
    for name in _FOLDERS[:4]:  # by their standard, a relative one does not count
        if not Path(os.environ.get(name, "/")).is_absolute():
            del os.environ[name]
    if not os.environ.get("HOME", "/"):
        del os.environ["HOME"]
    try:
        Path.home()
    except RuntimeError:  # nobody's process, as in some containers; libraries insist on a home
        os.environ["HOME"] = tempfile.mkdtemp(prefix="sympatheia-home-")
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)


def _clear_the_way() -> None:
    """Has every library reach servers on this machine directly."""
    if not any(name.lower().endswith("_proxy") or name == "SSL_CERT_FILE" for name in os.environ):
        return  # and need not wait for the HTTP libraries
    from corpus.servers.proxies import set_aside_unusable

    set_aside_unusable()
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [excepted, _HERE]))


@contextmanager
def stoppable(at_last: Callable[[], object] | None = None) -> Iterator[None]:
    """Has SIGTERM and SIGHUP stop the block as Ctrl-C does; `stopped_by` tells which it was.

    Args:
        at_last: what ends the process, should the block not have ended by itself in time: a
            library may have swallowed the interrupt.
    """
    global _watching, _at_last
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    hook = sys.unraisablehook
    _watching, _at_last = _watching + 1, at_last or _at_last
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, _stop)
        sys.unraisablehook = _swallowed
        yield
    finally:
        _watching -= 1
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def still_stoppable() -> Iterator[None]:
    """Has a block within `stoppable` stop as before, though a library took the signals."""
    if not _watching or threading.current_thread() is not threading.main_thread():
        yield
        return
    with stoppable():
        yield


def stopped_by() -> signal.Signals | None:
    """The signal that stopped a block of `stoppable`; None if none did."""
    return _stopped_by


def _stop(number: int, _: FrameType | None) -> None:
    global _stopped_by
    if _stopped_by is not None:  # more of them must not disturb the stopping
        return
    _stopped_by = signal.Signals(number)
    if (end := _at_last) is not None:
        signal.signal(signal.SIGALRM, lambda *_: _end_by_force(end))
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
    raise KeyboardInterrupt


def _swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
    """Has a stop come once more that came where Python ignores it: in a weakref's callback, say."""
    if unraisable.exc_type is KeyboardInterrupt and _stopped_by is not None:
        again = threading.Timer(AGAIN_SECONDS, _stop_again, (_stopped_by,))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _stop_again(number: signal.Signals) -> None:
    global _stopped_by
    _stopped_by = None
    os.kill(os.getpid(), number)


@contextmanager
def last_words(say: Callable[[], object]) -> Iterator[None]:
    """Has something said if the process is ended by force while the block is stopping."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def _end_by_force(end: Callable[[], object]) -> None:
    for say in reversed(_last_words):
        say()
    end()
