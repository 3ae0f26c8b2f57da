"""Workers of a sweep listen to their sweep alone, and a sweep without any says so."""

import asyncio
import ssl

import dask
import psutil
import pytest
from distributed.comm import connect
from experiment_stubs import write_notebook

from eeglab_models.experiments import cluster, sweep
from eeglab_models.experiments.runs import Limits, Run

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """Start a worker, as a sweep does."""
    with cluster.open_client(1, 1, None, None, tmp_path_factory.mktemp("sweep")) as client:
        yield client


def listening(process):
    """List where a process and its children listen."""
    family = [process, *process.children(recursive=True)]
    sockets = [one for member in family for one in member.net_connections("inet")]
    return {socket.laddr for socket in sockets if socket.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize(("protocol", "refusal"), [("tcp", "(?i)tcp"), ("tls", "(?i)tls")])
def test_a_stranger_without_a_certificate_is_refused(running, protocol, refusal):
    info = running.scheduler_info(n_workers=-1)
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    shown = {"ssl_context": stranger} if protocol == "tls" else {}
    for address in [running.scheduler.address, *info["workers"]]:
        assert address.startswith("tls://127.0.0.1:")
        port = address.rsplit(":", 1)[1]
        # In plain text the answer never comes; in TLS the stranger has nothing to show.
        with pytest.raises(OSError, match=refusal):
            asyncio.run(connect(f"{protocol}://127.0.0.1:{port}", timeout=2, **shown))


def test_the_sweep_itself_gets_its_answer(running):
    assert running.submit(sum, [1, 2]).result() == 3


def test_nothing_listens_beyond_this_machine(running):
    assert {address.ip for address in listening(psutil.Process())} == {"127.0.0.1"}


@pytest.mark.parametrize(
    "address",
    [
        *(
            "tcp://10.0.0.1:8786",
            "10.0.0.1:8786",
            "tls://10.0.0.1:8786",
            "tls://127.0.0.1:8786",
            "ws://[::1]:80",
        ),
        *("tcp://127.0.0.1.example.org:8786", "tcp://node7:8786", "tls://", "x", ""),
    ],
)
def test_a_scheduler_on_a_network_without_certificates_is_refused(address, tmp_path):
    with (
        pytest.raises(ValueError, match="by TLS with certificates, or be on this machine"),
        cluster.open_client(1, 1, address, None, tmp_path),
    ):
        pass


def test_schedulers_with_certificates_and_of_this_machine_are_accepted(tmp_path):
    for address in ("tcp://127.0.0.1:8786", "localhost:8786", "tcp://[::1]:8786"):
        cluster.check_scheduler(address)

    tls = {f"distributed.comm.tls.{name}": str(tmp_path) for name in ("ca-file", "client.cert", "client.key")}
    with dask.config.set(tls):
        cluster.check_scheduler("tls://node7:8786")


def test_jobs_of_slurm_read_a_certificate_that_only_their_owner_may_read(tmp_path):
    arguments = {"cores": 1, "memory": "1GB", "scheduler_options": {"host": "127.0.0.1"}}

    with cluster.slurm_cluster(arguments, 1, tmp_path) as started:
        script = started.job_script()
        address = started.scheduler_address
        keys = {path: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert address.startswith("tls://127.0.0.1:")
    assert "--no-dashboard" in script
    assert list(keys.values()) == [0o600] * 2
    assert all(str(key) in script for key in keys)


def test_jobs_of_slurm_are_reached_on_one_network(tmp_path, monkeypatch):
    monkeypatch.setattr("distributed.utils.get_ip", lambda: "127.0.0.1")

    with cluster.slurm_cluster({"cores": 1, "memory": "1GB"}, 1, tmp_path):
        assert {address.ip for address in listening(psutil.Process())} == {"127.0.0.1"}


class Deserted:
    """A scheduler whose workers are gone."""

    status = "running"

    def nthreads(self):
        return {}

    def submit(self, *arguments, **options):
        return type("Waiting", (), {"done": lambda self: False})()


def test_a_sweep_without_workers_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "WITHOUT_WORKERS", 0.1)
    run = Run(write_notebook(tmp_path), {"number": 1, "seconds": 0.0, "problem": ""}, "test")
    progress = sweep.Progress(3, resumed=1, done=1)
    dispatcher = sweep.Dispatcher(Deserted(), tmp_path, Limits(), None, progress, print, patience=0.1)

    with pytest.raises(
        ConnectionError, match=r"No worker is left for .* 2 of 3 runs are done\. Start workers"
    ):
        dispatcher.run([run])
