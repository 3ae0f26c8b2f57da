"""Nothing is lost: whatever is killed, full or broken, the next call goes on and every run is there once."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from experiment_stubs import write_grid, write_notebook
from filelock import FileLock
from rich.console import Console

from eeglab_models.experiments import cluster, sweep, terminal, versions, warm
from eeglab_models.experiments.grid import Grid, read_grid
from eeglab_models.experiments.rescoring import read_predictions
from eeglab_models.experiments.runs import Limits, Outcome, Run, execute
from eeglab_models.files import hash_file, write_json

# dask leaves sockets to the garbage collector when its workers are killed.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture
def run(tmp_path):
    """Build a run of the stub."""

    def build(**parameters):
        notebook = write_notebook(tmp_path)
        parameters = {"number": 1, "seconds": 0.0, "problem": ""} | parameters
        return Run(notebook, parameters, "test", ("output_folder",))

    return build


def read(path):
    return json.loads(path.read_text())


def n_attempts(folder):
    return sum(len(log.read_text().splitlines()) for log in folder.glob("runs/*/attempts.log"))


def start_sweep(folder, workers=2):
    script = Path(__file__).with_name("sweep_process.py")
    return subprocess.Popen(
        [sys.executable, script, folder, str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Only so that a sweep that hangs ends: a busy machine takes minutes to start Python and its libraries.
PATIENCE = 600


def wait_for(condition, process=None):
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


def working_process(process, folder):
    """Find a worker that is executing a run, by the log of attempts."""
    pids = [read_last(log)["pid"] for log in folder.glob("runs/*/attempts.log")]
    workers = {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
    busy = [workers[pid] for pid in pids if pid in workers]
    return busy[0] if busy else None


def read_last(log):
    lines = log.read_text().splitlines()
    return json.loads(lines[-1]) if lines else {"pid": -1}


def test_the_name_of_a_run_follows_its_parameters_and_the_code(run):
    one = run(number=1, seconds=2.0)
    same = Run(one.notebook, dict(reversed(one.parameters.items())), "test", ("output_folder",))

    assert one.id == same.id
    assert one.id != run(number=2, seconds=2.0).id
    assert one.id != Run(one.notebook, one.parameters, "other code").id


def test_the_version_of_the_code_follows_the_notebook_but_not_its_outputs(tmp_path):
    path = write_notebook(tmp_path)
    version = versions.code_version(path)
    notebook = read(path)
    notebook["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    path.write_text(json.dumps(notebook))

    assert versions.code_version(path) == version
    assert versions.code_version(write_notebook(tmp_path, body="1 + 1")) != version


def test_a_run_leaves_its_row_and_its_notebook_and_is_not_repeated(run, tmp_path):
    one = run(number=7)

    outcomes = [execute(one, tmp_path, Limits()).status for _ in range(2)]

    home = one.home(tmp_path)
    assert outcomes == ["done", "there"]
    assert read(home / "result.json")["number"] == 7
    assert sorted(path.name for path in home.iterdir()) == [
        "DONE",
        "attempts.log",
        "lock",
        "result.json",
        "run.ipynb",
    ]


def test_a_failing_run_keeps_its_notebook_with_the_traceback(run, tmp_path):
    one = run(problem="error")

    outcome = execute(one, tmp_path, Limits())

    home = one.home(tmp_path)
    assert (outcome.status, outcome.problem) == ("failed", "ValueError: bad subject")
    assert "bad subject" in (home / "failed.ipynb").read_text()
    assert read(home / "FAILED.json")["problem"] == outcome.problem
    assert not (home / "DONE").exists()


def test_a_dead_kernel_is_no_success_although_papermill_calls_its_notebook_complete(run, tmp_path):
    one = run(problem="dies")

    outcome = execute(one, tmp_path, Limits())

    assert (outcome.status, outcome.problem) == ("failed", "The kernel died, perhaps for lack of memory.")
    assert not (one.home(tmp_path) / "DONE").exists()


def test_a_notebook_without_a_row_is_no_success(run, tmp_path):
    outcome = execute(run(problem="forgets"), tmp_path, Limits())

    assert outcome.status == "failed"
    assert "stub.ipynb ended without a row" in outcome.problem


@pytest.mark.parametrize(
    ("limits", "parameters", "sentence"),
    [
        (Limits(seconds=0.1), {"seconds": 60.0}, "Stopped after 0.1 s. Raise --time-limit"),
        (Limits(n_bytes=300_000_000), {"problem": "memory"}, "allowed are 0.30 GB. Raise --memory-limit"),
    ],
)
def test_a_run_that_takes_too_much_is_stopped(run, tmp_path, limits, parameters, sentence):
    outcome = execute(run(**parameters), tmp_path, limits)

    assert outcome.status == "failed"
    assert sentence in outcome.problem


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_limits_and_times_survive_a_clock_that_jumps(run, tmp_path, monkeypatch, jump):
    """Set back, the wall clock would let a run go on for ever; set forward, it would end it at once."""
    clock, calls = time.time, []
    monkeypatch.setattr(time, "time", lambda: calls.append(1) or clock() + jump * (len(calls) > 1))
    short, long = Limits(seconds=0.1), Limits(seconds=600)

    late = execute(run(number=1, seconds=20.0), tmp_path, short)
    early = execute(run(number=2, seconds=1.0), tmp_path, long)

    assert "Stopped after 0.1 s" in late.problem
    assert (early.status, early.problem) == ("done", "")
    assert 0 < early.seconds < 600


def test_limits_hold_beside_a_child_that_cannot_be_asked(run, tmp_path):
    """A child that is over but not waited for has no folder, and psutil refuses to say one."""
    zombie = subprocess.Popen(["true"])
    wait_for(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)

    outcome = execute(run(seconds=20.0), tmp_path, Limits(seconds=0.1))

    zombie.wait()
    assert "Stopped after 0.1 s" in outcome.problem


def test_folders_of_a_notebook_are_kept_also_where_an_earlier_attempt_left_one(tmp_path):
    body = (
        "import json, pathlib\n"
        "for name in ('figures', 'checkpoints'):\n"
        "    pathlib.Path(output_folder, name).mkdir()\n"
        "    pathlib.Path(output_folder, name, 'a.txt').write_text('new')\n"
        "pathlib.Path(output_folder, 'result.json').write_text(json.dumps({}))"
    )
    one = Run(write_notebook(tmp_path, body=body), {"number": 1}, "test", ("output_folder",))
    home = one.home(tmp_path)
    for name in ("figures", "checkpoints"):
        (home / name).mkdir(parents=True)
        (home / name / "a.txt").write_text("old")

    outcome = execute(one, tmp_path, Limits())

    assert outcome.status == "done", outcome.problem
    assert [(home / name / "a.txt").read_text() for name in ("figures", "checkpoints")] == ["new", "new"]


def test_a_run_that_another_process_is_at_is_left_alone(run, tmp_path):
    one = run()
    home = one.home(tmp_path)
    home.mkdir(parents=True)

    with FileLock(home / "lock"):
        outcome = execute(one, tmp_path, Limits())

    assert outcome.status == "locked"
    assert not (home / "attempts.log").exists()


def test_what_an_interrupted_attempt_left_is_cleared_away(run, tmp_path):
    one = run()
    rest = one.home(tmp_path) / "attempt-old"
    rest.mkdir(parents=True)
    (rest / "result.json").write_text('{"number": 999')

    execute(one, tmp_path, Limits())

    assert not rest.exists()
    assert read(one.home(tmp_path) / "result.json")["number"] == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "row.json"
    write_json(path, {"a": 1})

    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    assert read(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_warm_kernel_shares_no_state_and_no_random_numbers(tmp_path):
    body = (
        "import json, os, pathlib, random, sys, numpy\n"
        "fresh = 'spoiled' not in sys.modules\n"
        "sys.modules['spoiled'] = None\n"
        "row = {'fresh': fresh, 'random': random.random(), 'numpy': numpy.random.random()}\n"
        "row['torch'] = 'torch' in sys.modules\n"
        "pathlib.Path(output_folder, 'result.json').write_text(json.dumps(row))"
    )
    notebook = write_notebook(tmp_path, body=body)
    both = [
        Run(notebook, {"number": n, "seconds": 0.0, "problem": ""}, "test", ("output_folder",))
        for n in (1, 2)
    ]

    outcomes = [execute(one, tmp_path, Limits(warm=True)) for one in both]

    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    first, second = (read(one.home(tmp_path) / "result.json") for one in both)
    assert first["torch"]
    assert second["fresh"]
    assert first["random"] != second["random"]
    assert first["numpy"] != second["numpy"]


def test_the_process_that_forks_is_started_anew_for_other_code(monkeypatch):
    seen = iter(["old", "old", "new"])
    monkeypatch.setattr(warm, "source_version", lambda: next(seen))
    # What it imports would take most of the time.
    monkeypatch.setattr(warm, "COMMAND", ["sleep", "600"])

    first, same, other = (warm.warm_process() for _ in range(3))

    assert first is same
    assert other is not first
    assert first.process.poll() is not None
    other.close()


def test_the_version_of_the_code_is_that_of_what_decides_a_result(monkeypatch, tmp_path):
    for file in ("models/eegpt.py", "plotting/maps.py", "workshop/kit.py"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text("1")
    monkeypatch.setattr(versions, "PACKAGE", tmp_path)
    before = versions.source_version()
    (tmp_path / "plotting/maps.py").write_text("2")
    (tmp_path / "workshop/kit.py").write_text("2")
    same = versions.source_version()
    (tmp_path / "models/eegpt.py").write_text("2")

    assert same == before
    assert versions.source_version() != before


class Answer:
    """A future that is done."""

    status = "finished"

    def __init__(self, outcome):
        self.outcome = outcome

    def done(self):
        return True

    def result(self):
        return self.outcome


class Workers:
    """Two workers that answer at once, as they are told."""

    status = "running"

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def nthreads(self):
        return {"a": 1, "b": 1}

    def submit(self, function, run, folder, limits, **options):
        self.asked.append(run.parameters["number"])
        return Answer(self.answers(run, len(self.asked)))


def dispatch(run, tmp_path, answers, n_runs=6, max_failures=None):
    todo = [run(number=number) for number in range(n_runs)]
    progress = sweep.Progress(n_runs)
    workers = Workers(answers)
    sweep.Dispatcher(workers, tmp_path, Limits(), max_failures, progress, lambda progress: None).run(todo)
    return workers, progress


def test_the_sweep_stops_after_as_many_failures_as_allowed(run, tmp_path):
    workers, progress = dispatch(
        run, tmp_path, lambda run, n: Outcome(run.id, "failed", problem="x"), max_failures=2
    )

    assert workers.asked == [0, 1]
    assert (progress.failed, progress.remaining) == (2, 4)


def test_a_locked_run_is_asked_for_again_until_it_is_there(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "LOOK_ELSEWHERE", 0.0)

    def answers(run, n):
        return Outcome(run.id, "locked" if n < 3 else "there")

    workers, progress = dispatch(run, tmp_path, answers, n_runs=1)

    assert workers.asked == [0, 0, 0]
    assert (progress.elsewhere, progress.remaining) == (1, 0)


def test_a_full_disk_ends_in_one_sentence(run, tmp_path):
    one = run(problem="disk is full")

    outcome = execute(one, tmp_path, Limits())

    assert outcome.status == "disk full"
    with pytest.raises(sweep.DiskFullError, match=r"^The disk of .* is full. 0 runs are done and kept; free"):  # noqa: SIM117
        with sweep.disk_full_is_one_sentence(tmp_path):
            dispatch(run, tmp_path, lambda run, n: outcome)


def test_the_name_of_a_grid_is_no_markup(run):
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    grid = Grid("[red]{one}[/]", Path("a.ipynb"), (run(),))

    with terminal.live_progress(console, grid) as report:
        report(sweep.Progress(1))

    assert "[red]{one}[/]" in console.file.getvalue()


def test_a_slurm_job_is_described_without_starting_any(tmp_path):
    path = tmp_path / "slurm.yaml"
    # The scheduler would look for an address that other computers reach, which needs a network.
    path.write_text(
        "queue: gpu\ncores: 4\nmemory: 16GB\nwalltime: 10:00:00\njob_extra_directives: [--gres=gpu:1]\n"
        "scheduler_options: {host: 127.0.0.1, dashboard_address: ':0'}"
    )

    script = cluster.job_script(cluster.read_slurm(path), threads=1)

    for line in ("#SBATCH -p gpu", "#SBATCH -t 10:00:00", "#SBATCH --gres=gpu:1", "export OMP_NUM_THREADS=4"):
        assert line in script.splitlines()
    assert "--nthreads 1 --no-dashboard" in script


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qeue: gpu\ncores: 1\nmemory: 1GB", "Did you mean 'queue'"),
        ("queue: gpu", "needs cores and memory of one job"),
        ("cores: -1\nmemory: 1GB", "cores should be"),
        ("cores: 1\nmemory: 1GB\njob_script_prologue: module load", "job_script_prologue should be a list"),
        ("cores: 1\nmemory: 1GB\nsecurity: null", "no setting 'security'"),
        ("cores: 1\nmemory: 1GB\nprotocol: tcp", "no setting 'protocol'"),
        ("cores: 1\nmemory: 1GB\nscheduler_options: {security: null}", "scheduler_options"),
    ],
)
def test_a_wrong_slurm_file_is_refused(tmp_path, text, message):
    path = tmp_path / "slurm.yaml"
    path.write_text(text)

    with pytest.raises(ValueError, match=message):
        cluster.read_slurm(path)


def test_time_is_estimated_from_runs_that_are_done(tmp_path):
    write_notebook(tmp_path)
    grid = read_grid(write_grid(tmp_path, "grid: {number: [1, 2, 3, 4, 5]}"))
    home = grid.runs[0].home(tmp_path)
    home.mkdir(parents=True)
    assert sweep.estimate(grid, tmp_path, workers=2) is None
    write_json(home / "result.json", {"parameters": {}, "seconds_in_all": 30.0})
    write_json(home / "DONE", {})

    assert sweep.estimate(grid, tmp_path, workers=2) == 60.0


def test_after_kills_of_a_worker_and_of_everything_two_sweeps_share_the_rest(tmp_path):
    write_notebook(tmp_path)
    write_grid(tmp_path, "fixed: {seconds: 0.5}\ngrid: {number: [1, 2, 3, 4, 5, 6]}")
    out = tmp_path / "out"

    process = start_sweep(tmp_path)
    wait_for(lambda: working_process(process, out), process).send_signal(signal.SIGKILL)
    wait_for(lambda: len(list(out.glob("runs/*/DONE"))) >= 2, process)
    victim = wait_for(lambda: working_process(process, out), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    n_before, n_attempts_before = len(list(out.glob("runs/*/DONE"))), n_attempts(out)
    both = [start_sweep(tmp_path, workers=1) for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in both]

    counts = [json.loads(answer) for answer, _ in answers]
    rows = [read(path) for path in out.glob("runs/*/result.json")]
    assert n_before < 6, victim
    # The killed worker's run started twice.
    assert n_attempts_before > n_before
    for count in counts:
        assert count["resumed"] + count["done"] + count["elsewhere"] == 6, answers
        assert count["failed"] == count["remaining"] == 0
    # Each of the rest ran in one of them, and once.
    assert sum(count["done"] for count in counts) == 6 - n_before
    assert n_attempts(out) - n_attempts_before == 6 - n_before
    assert sorted(row["number"] for row in rows) == [1, 2, 3, 4, 5, 6]
    assert not list(out.glob("runs/*/attempt-*"))


def test_the_experiment_writes_a_row_that_can_be_judged_and_repeated(tmp_path):
    write_grid(
        tmp_path,
        "fixed: {max_windows: 10, n_folds: 2}\n"
        "grid: {model: FBLightConvNet, checkpoint: fblightconvnet-simulated, regime: head, max_epochs: 1}",
    )
    path = tmp_path / "grid.yaml"
    path.write_text(path.read_text().replace("notebook: stub.ipynb\n", ""))
    (one,) = read_grid(path).runs

    outcome = execute(one, tmp_path, Limits())

    assert outcome.status == "done", outcome.problem
    row = read(one.home(tmp_path) / "result.json")
    assert row["parameters"] == one.parameters
    # Two sessions in two folds.
    assert len(row["scores"]) == len(row["folds"]["score"]) == 4
    assert row["folds"]["subject"] == ["1"] * 4
    assert row["score"] == pytest.approx(sum(row["folds"]["n_correct"]) / 40)
    predictions = read_predictions(one.home(tmp_path))
    assert row["predictions_hash"] == hash_file(one.home(tmp_path) / "predictions.parquet")
    assert sorted(predictions["trial"]) == list(range(40))
    assert set(predictions["session"]) == {"0", "1"}
    assert predictions.groupby("fold")["session"].nunique().tolist() == [1] * 4
    assert (predictions["p_left_hand"] + predictions["p_right_hand"]).to_numpy() == pytest.approx(1)
    assert (row["n_windows"], row["chance"], row["n_attempts"]) == (40, 0.5, 1)
    assert set(row["seconds"]) == {"imports", "loading", "model", "scoring"}
    assert len(row["data_fingerprint"]) == len(row["weight_fingerprint"]) == 64
    assert {"torch", "mne", "python"} <= set(row["versions"])
    assert row["peak_memory"] > 100
    assert {"commit", "uncommitted", "code_version", "machine", "finished"} <= set(row)
