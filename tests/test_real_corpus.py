"""Real recordings become a corpus: PhysioNet's mental arithmetic and motor imagery."""

import os
from pathlib import Path

import pytest

from eeglab_models import CodeBrain
from eeglab_models.pretraining.corpus.building import build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus

SHARED = Path(os.environ.get("MNE_DATA", "nowhere")).parent
MOTOR_IMAGERY = SHARED / "mne_data/MNE-eegbci-data/files/eegmmidb/1.0.0/S001/S001R04.edf"
ARITHMETIC = SHARED / "eegmat"
pytestmark = pytest.mark.skipif(
    not (MOTOR_IMAGERY.is_file() and ARITHMETIC.is_dir()),
    reason="MNE_DATA names no folder of PhysioNet recordings beside a folder eegmat",
)


def test_a_folder_with_a_damaged_recording_becomes_a_corpus(tmp_path):
    (tmp_path / "good").mkdir()
    for name in ("Subject00_2.edf", "Subject01_2.edf"):
        (tmp_path / "good" / name).symlink_to(ARITHMETIC / name)
    (tmp_path / "S001R04.edf").symlink_to(MOTOR_IMAGERY)
    damaged = (ARITHMETIC / "Subject02_2.edf").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "Subject02_2.edf").write_bytes(damaged)

    options = {"length": 4.0, "skip_start": 5.0, "skip_end": 5.0, "shortest": 60.0, "notch": 50.0}
    report = build_corpus(
        tmp_path, tmp_path / "corpus", CodeBrain, progress=False, amplitude=300.0, **options
    )

    assert list(report.skipped) == ["Subject02_2.edf"]
    corpus = Corpus(tmp_path / "corpus", check=True)
    assert corpus.recordings["recording"].tolist() == [
        "S001R04.edf",
        "good/Subject00_2.edf",
        "good/Subject01_2.edf",
    ]
    # 125 s and twice 62 s without 10 s, in windows of 4 s.
    assert len(corpus) + report.n_rejected == 28 + 2 * 13
    assert (tuple(corpus.ch_names), corpus.unit) == (CodeBrain.contract.ch_names, "µV/100")
    # Scalp EEG varies by tens of microvolts.
    assert 0.05 < corpus.windows(range(len(corpus))).data.std() < 1.0
