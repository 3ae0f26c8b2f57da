"""Where runs are executed: workers on this machine, behind a scheduler that is there, or jobs of SLURM."""

import contextlib
import inspect
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eeglab_models.configs import about, check_name, read_yaml
from eeglab_models.experiments.runs import THREAD_VARIABLES

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Client

__all__: list[str] = []

# A run may lose its worker twice by accident; one that loses it a third time is to blame.
ALLOWED_LOSSES = 2
# Memory of a kernel with a small model: more workers than fit would end each other.
BYTES_PER_RUN = 1.5e9


def default_workers(n_runs: int) -> int:
    """Choose as many workers as cores and memory allow, and no more than runs: at least 1."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, int(MEMORY_LIMIT // BYTES_PER_RUN), n_runs))


@contextlib.contextmanager
def open_client(
    n_workers: int, threads: int, scheduler: str | None, slurm: Mapping[str, Any] | None
) -> Iterator["Client"]:
    """Connect to workers as long as the block lasts: one's own, those of a scheduler, or jobs of SLURM."""
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_LOSSES,
        # Memory is watched where it is used, in the kernels.
        "distributed.worker.memory.terminate": False,
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler is not None:
            try:
                yield stack.enter_context(Client(scheduler, timeout=10))
            except OSError as error:
                if "Timed out" not in str(error):
                    raise
                raise ConnectionError(
                    f"No dask scheduler answers at {scheduler}. Start one with 'dask scheduler', or leave "
                    "--scheduler out for workers on this machine."
                ) from error
            return
        scratch = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        if slurm is not None:
            cluster = stack.enter_context(slurm_cluster(slurm, threads))
            cluster.scale(jobs=n_workers)
        else:
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                # Any free port, for this machine alone.
                dashboard_address="127.0.0.1:0",
                local_directory=scratch,
                env=dict.fromkeys(THREAD_VARIABLES, str(threads)),
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


def read_slurm(path: str | Path) -> dict[str, Any]:
    """Read and check the arguments of `dask_jobqueue.SLURMCluster`, as queue, cores and memory, in YAML."""
    from dask_jobqueue import SLURMCluster
    from dask_jobqueue.core import Job
    from dask_jobqueue.slurm import SLURMJob

    arguments = read_yaml(path)
    known: set[str] = set()
    for kind in (SLURMCluster, SLURMJob, Job):
        known |= set(inspect.signature(kind.__init__).parameters)
    for name in arguments:
        with about(path):
            check_name(name, sorted(known - {"self", "args", "kwargs"}), "SLURMCluster has no argument")
    missing = [name for name in ("cores", "memory") if name not in arguments]
    if missing:
        raise ValueError(
            f"{path} needs {' and '.join(missing)} of one job, as in 'cores: 4', 'memory: 16GB'."
        )
    return arguments


def slurm_cluster(arguments: Mapping[str, Any], threads: int) -> "SLURMCluster":
    """Describe a cluster whose jobs run one notebook each; jobs start when it is scaled."""
    from dask_jobqueue import SLURMCluster

    exports = [f"export {name}={arguments.get('cores', threads)}" for name in THREAD_VARIABLES]
    defaults = {
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1"],
        "log_directory": "outputs/slurm_logs",
        # Any free port: the usual one may be another user's on a login node.
        "scheduler_options": {"dashboard_address": ":0"},
    }
    prologue = [*exports, *arguments.get("job_script_prologue", [])]
    return SLURMCluster(**{**defaults, **arguments, "job_script_prologue": prologue})


def job_script(arguments: Mapping[str, Any], threads: int) -> str:
    """Write the script of one SLURM job, without starting any; `threads` count where no cores are named."""
    with slurm_cluster(arguments, threads) as cluster:
        return cluster.job_script()
