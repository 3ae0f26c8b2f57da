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
import uuid
from functools import cache
from importlib import import_module
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

__all__ = ["WarmKernelManager"]

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
    "eeglab_models.signals.simulation",
)


class WarmKernelManager(AsyncKernelManager):
    """jupyter_client's manager of kernels, with kernels that are forked."""

    async def _async_pre_start_kernel(self, **kwargs: Any) -> tuple[list[str], dict[str, Any]]:
        self.kernel_id = self.kernel_id or str(uuid.uuid4())
        if self.provisioner is None:
            self.provisioner = WarmProvisioner(
                kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self
            )
        return await super()._async_pre_start_kernel(**kwargs)


class WarmProvisioner(LocalProvisioner):
    """Starts a kernel by asking the warm process for a fork."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork instead of starting Python; the command's arguments stay."""
        request = {
            # python -m ipykernel_launcher ARGUMENTS
            "arguments": cmd[cmd.index("-m") + 2 :],
            "environment": {**os.environ, **(kwargs.get("env") or {})},
            "folder": str(kwargs.get("cwd") or os.getcwd()),
        }
        self.process = await asyncio.to_thread(lambda: Fork(warm_process().fork(request)))
        self.pid = self.process.pid
        return self.connection_info


class Fork:
    """What jupyter_client needs to know of a process, for one that somebody else started.

    Parameters
    ----------
    pid : int
        The process.
    """

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
        command = [sys.executable, "-m", "eeglab_models.experiments.warm"]
        self.lock = threading.Lock()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fork(self, request: dict[str, Any]) -> int:
        """Get a new kernel."""
        answer = ""
        with self.lock, contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        if not answer:
            warm_process.cache_clear()
            raise RuntimeError("The process that starts kernels is gone; the next run gets a new one.")
        return int(answer)


@cache
def warm_process() -> WarmProcess:
    """Start the process, once."""
    return WarmProcess()


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
