"""Kernels that start at once: forked from a process that has imported the heavy libraries already.

A worker keeps one such process. Asked for a kernel, it forks; the fork becomes the kernel of one run and ends
with it, so runs share imports and nothing else. Where processes cannot be forked safely, on macOS and
Windows, kernels start as usual.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

import psutil
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from eeglab_models.experiments.versions import source_version

__all__: list[str] = []

LIBRARIES = (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "moabb.paradigms",
    "moabb.datasets.utils",
    "pyriemann.estimation",
    "pyriemann.spatialfilters",
    "pyriemann.tangentspace",
    "eeglab_models.finetuning.training",
    "eeglab_models.experiments.grid",
    "eeglab_models.signals.recordings",
    "eeglab_models.signals.simulation",
)
COMMAND = [sys.executable, "-m", "eeglab_models.experiments.warm"]


def fork_kernels(wanted: bool) -> None:
    """Say how kernels start in this process from now on."""
    factory = KernelProvisionerFactory.instance()
    # An entry point in pyproject.toml would be there only after the next installation.
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:ForkProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked" if wanted else "local-provisioner"


class ForkProvisioner(LocalProvisioner):
    """Starts a kernel by asking the warm process for a fork."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork instead of starting Python; the command's arguments stay."""
        request = {
            # python -m ipykernel_launcher ARGUMENTS
            "arguments": cmd[cmd.index("-m") + 2 :],
            "environment": {**os.environ, **(kwargs.get("env") or {})},
            "folder": str(kwargs.get("cwd") or os.getcwd()),
        }
        self.process = Fork(await asyncio.to_thread(fork, request))
        self.pid = self.process.pid
        return self.connection_info


class Fork:
    """What jupyter_client needs to know of a process, for one that somebody else started."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.process = None
        # It may be over already.
        if psutil.pid_exists(pid):
            self.process = psutil.Process(pid)

    def poll(self) -> int | None:
        """Tell whether it is over; how it ended stays unknown."""
        alive = self.process is not None and self.process.is_running()
        return None if alive and self.process.status() != psutil.STATUS_ZOMBIE else 1

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        start = time.monotonic()
        while self.poll() is None:
            if timeout is not None and time.monotonic() - start > timeout:
                raise subprocess.TimeoutExpired("kernel", timeout)
            time.sleep(0.02)
        return 1

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""
        if self.poll() is None:
            self.process.send_signal(number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class WarmProcess:
    """The process that forks. It ends when its standard input does, with whoever started it."""

    def __init__(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        # In a session of its own: Ctrl-C is for who started the sweep.
        self.process = subprocess.Popen(COMMAND, start_new_session=True, **pipes)

    def ask(self, request: dict[str, Any]) -> str:
        """Ask for a kernel; the answer is empty if the process is gone."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
            return self.process.stdout.readline()
        return ""

    def is_busy(self) -> bool:
        """Tell whether a kernel of it still runs."""
        return self.process.poll() is None and bool(psutil.Process(self.process.pid).children())

    def close(self) -> None:
        """End it and its kernels."""
        self.process.kill()
        self.process.communicate()


# By the version of the code that they have imported.
PROCESSES: dict[str, WarmProcess] = {}
LOCK = threading.Lock()


def warm_process() -> WarmProcess:
    """Find the process that has imported the code as it is now; those of older code end after their forks."""
    version = source_version()
    for old in [name for name in PROCESSES if name != version and not PROCESSES[name].is_busy()]:
        PROCESSES.pop(old).close()
    if version not in PROCESSES:
        PROCESSES[version] = WarmProcess()
    return PROCESSES[version]


def fork(request: dict[str, Any]) -> int:
    """Get a new kernel."""
    with LOCK:
        answer = warm_process().ask(request)
        if not answer:
            PROCESSES.clear()
            raise RuntimeError("The process that starts kernels is gone; the next run gets a new one.")
    return int(answer)


def serve() -> None:
    """Import, then fork for every line of standard input; at its end, end all forks."""
    # A message of an import must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in LIBRARIES:
        import_module(name)
    # Nobody waits for forks, so the system clears them away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            become_kernel(json.loads(line), parent)
        print(pid, file=answers, flush=True)
    for child in psutil.Process().children():
        child.kill()
    # Libraries take seconds to say goodbye.
    os._exit(0)


def become_kernel(request: dict[str, Any], parent: int) -> None:
    """Turn this process into a kernel, and end with it."""
    import random

    import numpy as np
    from ipykernel.kernelapp import IPKernelApp

    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # Forks of one process would otherwise all draw the same numbers.
        random.seed()
        np.random.seed()  # noqa: NPY002
        sys.argv = ["ipykernel_launcher", *request["arguments"]]
        # Where the launcher was started, the current folder comes first.
        sys.path.insert(0, "")
        # The kernel ends when the process that forked it is gone.
        IPKernelApp.launch_instance([*request["arguments"], f"--IPKernelApp.parent_handle={parent}"])
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
