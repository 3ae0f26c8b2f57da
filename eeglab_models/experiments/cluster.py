"""Where runs are executed: workers on this machine, behind a scheduler that is there, or jobs of SLURM."""

import contextlib
import ipaddress
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eeglab_models.configs import Count, about, check_name, check_value, read_yaml
from eeglab_models.experiments.runs import THREAD_VARIABLES

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Client, Security

__all__: list[str] = []

# A run may lose its worker twice by accident; one that loses it a third time is to blame.
ALLOWED_LOSSES = 2
# Memory of a kernel with a small model: more workers than fit would end each other.
BYTES_PER_RUN = 1.5e9
# What a file may say of jobs; how they talk is none of it.
SLURM: dict[str, Any] = {
    **dict.fromkeys(("cores", "processes", "job_cpu", "death_timeout"), Count),
    **dict.fromkeys(("memory", "queue", "account", "walltime", "job_mem", "job_name", "name"), str),
    **dict.fromkeys(("interface", "host", "log_directory", "local_directory", "shared_temp_directory"), str),
    **dict.fromkeys(("shebang", "python"), str),
    **dict.fromkeys(("job_script_prologue", "job_extra_directives", "job_directives_skip"), list[str]),
    "worker_extra_args": list[str],
    "scheduler_options": dict[Literal["host", "interface", "port", "dashboard_address"], str | int],
    "nanny": bool,
}
# dask opens a port for web pages in any case: a free one, for this machine alone, with nothing behind it.
NO_DASHBOARD = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


def default_workers(n_runs: int) -> int:
    """Choose as many workers as cores and memory allow, and no more than runs: at least 1."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, int(MEMORY_LIMIT // BYTES_PER_RUN), n_runs))


@contextlib.contextmanager
def open_client(
    n_workers: int, threads: int, scheduler: str | None, slurm: Mapping[str, Any] | None, folder: Path
) -> Iterator["Client"]:
    """Connect to workers as long as the block lasts: one's own, those of a scheduler, or jobs of SLURM.

    Those that are started here talk in TLS, with a certificate that ends with them: whoever reaches a port
    without it is refused. Jobs of SLURM read it in `folder`, from files that only their owner may read.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_LOSSES,
        # Memory is watched where it is used, in the kernels.
        "distributed.worker.memory.terminate": False,
        # Web pages have no certificates: whoever reaches them could read along.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        if scheduler is not None:
            check_scheduler(scheduler)
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
        # Jobs find certificates where they find results.
        place = {"dir": folder, "prefix": ".certificates-"} if slurm is not None else {}
        scratch = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True, **place))
        if slurm is not None:
            cluster = stack.enter_context(slurm_cluster(slurm, threads, Path(scratch)))
            cluster.scale(jobs=n_workers)
        else:
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                host="127.0.0.1",
                # Others of this machine reach the same ports, and have no certificate.
                security=Security.temporary(),
                dashboard_address=None,
                scheduler_kwargs=NO_DASHBOARD,
                local_directory=scratch,
                env=dict.fromkeys(THREAD_VARIABLES, str(threads)),
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


def check_scheduler(address: str) -> None:
    """Refuse a scheduler over a network without TLS: whoever reaches it runs code as its owner."""
    from distributed import Security
    from distributed.comm import parse_address, parse_host_port

    try:
        protocol, place = parse_address(address)
        host, _ = parse_host_port(place)
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name rather than a number; an address without a port finds no scheduler below.
        protocol, is_here = address.partition("://")[0], False
    security = Security()
    has_certificates = security.tls_ca_file and security.tls_client_cert and security.tls_client_key
    if not {"tls": has_certificates, "tcp": is_here}.get(protocol):
        raise ValueError(
            "A scheduler has to be reached by TLS with certificates, or be on this machine "
            f"(tcp://127.0.0.1:PORT), got {address}. Start it and its workers with --tls-ca-file, --tls-cert "
            "and --tls-key, name it as tls://HOST:PORT, and state the same files in dask's configuration, as "
            "ca-file, client.cert and client.key of distributed.comm.tls."
        )


def read_slurm(path: str | Path) -> dict[str, Any]:
    """Read and check the arguments of `dask_jobqueue.SLURMCluster`, as queue, cores and memory, in YAML."""
    arguments = read_yaml(path)
    with about(path):
        for name, value in arguments.items():
            check_name(name, SLURM, "A job of Slurm has no setting")
            check_value(name, value, SLURM[name])
    missing = [name for name in ("cores", "memory") if name not in arguments]
    if missing:
        raise ValueError(
            f"{path} needs {' and '.join(missing)} of one job, as in 'cores: 4', 'memory: 16GB'."
        )
    return arguments


def write_certificate(folder: Path) -> "Security":
    """Make a certificate and write it to files that only their owner may read: for workers elsewhere."""
    from distributed import Security

    made = Security.temporary()
    files = {"cert": folder / "certificate.pem", "key": folder / "key.pem"}
    for kind, path in files.items():
        path.touch(0o600)
        path.write_text(getattr(made, f"tls_client_{kind}"), encoding="ascii")
    roles = ("client", "scheduler", "worker")
    places = {f"tls_{role}_{kind}": str(path) for role in roles for kind, path in files.items()}
    return Security(require_encryption=True, tls_ca_file=str(files["cert"]), **places)


def slurm_cluster(arguments: Mapping[str, Any], threads: int, folder: Path) -> "SLURMCluster":
    """Describe a cluster whose jobs run one notebook each; jobs start when it is scaled."""
    from dask_jobqueue import SLURMCluster
    from distributed.utils import get_ip

    exports = [f"export {name}={arguments.get('cores', threads)}" for name in THREAD_VARIABLES]
    defaults = {
        "processes": 1,
        "worker_extra_args": ["--nthreads", "1", "--no-dashboard"],
        "log_directory": "outputs/slurm_logs",
        "security": write_certificate(folder),
    }
    options = NO_DASHBOARD | arguments.get("scheduler_options", {})
    if "interface" not in arguments and not {"host", "interface"} & set(options):
        # The way out of this computer: without an address dask would listen on all of its networks.
        options["host"] = get_ip()
    prologue = [*exports, *arguments.get("job_script_prologue", [])]
    own = {"scheduler_options": options, "job_script_prologue": prologue}
    return SLURMCluster(**{**defaults, **arguments, **own})


def job_script(arguments: Mapping[str, Any], threads: int) -> str:
    """Write the script of one SLURM job, without starting any; `threads` count where no cores are named."""
    with tempfile.TemporaryDirectory() as folder, slurm_cluster(arguments, threads, Path(folder)) as cluster:
        return cluster.job_script()
