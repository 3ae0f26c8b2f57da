"""Files that are damaged at random, the same in every run, end in an error that names them, or read right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_damaged_files_of_every_kind_are_named_or_read_right():
    tests = Path(__file__).parent
    command = [sys.executable, tests / "fuzzing.py", "10", "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ", 0 faults" in ended.stdout
