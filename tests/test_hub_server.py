"""Pushing to a Hub and loading from it: a real client, and a Hub on 127.0.0.1 that can be made to fail.

`hub_scenarios.py` runs once, in a process of its own; each test reads one outcome.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRETS = ("hf_secret", "secret_argument", "secret_environment")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def done(folder):
    environment = os.environ | {
        "HF_HOME": str(folder),
        "HF_TOKEN": "hf_secret_environment",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_ETAG_TIMEOUT": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_VERBOSITY": "debug",
        "NO_PROXY": "127.0.0.1",
    }
    return subprocess.run(
        [sys.executable, "hub_scenarios.py", str(folder)],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def outcomes(done, folder):
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "outcomes.json").read_text())


@pytest.mark.parametrize("model", ["CodeBrain", "EEGPT", "EEGDINO", "FBLightConvNet"])
def test_a_pushed_model_loads_with_the_same_output(outcomes, model):
    assert outcomes["travel"][model] == {"same": True, "new": []}


def test_weights_in_several_files_of_a_subfolder_load_and_every_tensor_counts(outcomes):
    outcome = outcomes["pieces"]

    assert outcome["same"]
    # Whether there is one file of weights is asked first.
    assert outcome["requests"]["methods"] == {"HEAD": 5, "GET": 4}
    assert outcome["again"]["methods"] == {}


@pytest.mark.parametrize(
    ("case", "error", "sentence"),
    [
        (
            "other head",
            "ValueError",
            "needs every tensor of lab/pieces in its place; new: final_layer",
        ),
        ("no subfolder", "FileNotFoundError", "'lab/pieces' holds no config.json at revision 'main'"),
        ("damaged", "ValueError", "part1.safetensors is no complete safetensors file"),
        ("missing", "FileNotFoundError", "'lab/pieces' holds no deep/part2.safetensors"),
    ],
)
def test_several_files_of_a_subfolder_are_refused_by_name(outcomes, case, error, sentence):
    assert outcomes["pieces"][case]["error"] == error
    assert sentence in outcomes["pieces"][case]["message"]


@pytest.mark.parametrize("revision", ["first commit", "tag", "second commit", "branch", "default"])
def test_a_revision_names_the_weights_that_are_loaded(outcomes, revision):
    assert outcomes["revisions"]["differ"]
    assert outcomes["revisions"][revision]


def test_the_first_load_downloads_both_files(outcomes):
    assert outcomes["cache"]["first"]["methods"] == {"HEAD": 2, "GET": 2}


def test_the_second_load_asks_for_no_content(outcomes):
    assert outcomes["cache"]["second"]["methods"] == {"HEAD": 1}


@pytest.mark.parametrize("way", ["commit", "local"])
def test_a_cached_commit_and_local_files_need_no_request(outcomes, way):
    assert outcomes["cache"][way]["methods"] == {}


def test_a_cached_model_loads_while_the_hub_fails(outcomes):
    assert outcomes["cache"]["failing"]["error"] is None


def test_offline_a_cached_model_loads_without_a_request(outcomes):
    assert outcomes["offline"]["found"] == "loaded"
    assert outcomes["offline"]["requests"]["methods"] == {}


@pytest.mark.parametrize(
    ("case", "missing"),
    [
        ("never", "config.json of 'lab/never' at revision 'main'"),
        ("other revision", "config.json of 'lab/cache' at revision 'v9'"),
    ],
)
def test_offline_what_is_missing_is_named(outcomes, case, missing):
    assert outcomes["offline"][case].startswith(f"{missing} is not in the cache")


def test_an_interrupted_download_is_resumed_where_the_last_piece_ended(outcomes):
    outcome = outcomes["interruption"]["small pieces"]

    assert outcome["same"]
    assert outcome["ranges"] == ["bytes=800-"]


def test_a_download_interrupted_before_a_piece_was_complete_starts_again(outcomes):
    outcome = outcomes["interruption"]["large pieces"]

    assert outcome["same"]
    assert outcome["ranges"] == []
    assert outcome["methods"]["GET"] == 3


@pytest.mark.parametrize("way", ["broken off", "shorter than stated"])
def test_a_truncated_download_is_refused_by_name(outcomes, way):
    outcome = outcomes["truncation"][way]

    assert outcome["error"] == "ConnectionError"
    assert "model.safetensors of 'lab/truncation'" in outcome["message"]
    assert "broke off" in outcome["message"]


def test_a_truncated_download_leaves_nothing_behind(outcomes):
    assert outcomes["truncation"]["left behind"] == []
    assert outcomes["truncation"]["again"]["error"] is None


@pytest.mark.parametrize("moment", ["first", "later"])
def test_a_file_altered_on_the_way_is_refused_by_name(outcomes, moment):
    outcome = outcomes["tampering_on_the_way"][moment]

    assert outcome["error"] == "ValueError"
    assert "model.safetensors was altered or damaged" in outcome["message"]
    assert "force_download=True" in outcome["message"]


def test_a_forced_download_replaces_an_altered_file(outcomes):
    assert outcomes["tampering_on_the_way"]["forced"]["error"] is None
    assert outcomes["tampering_on_the_way"]["after"]["error"] is None


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_file_altered_in_the_cache_is_refused_by_name(outcomes, file):
    outcome = outcomes["tampering_in_the_cache"][file]

    assert outcome["named"]
    assert {outcome[key] for key in ("error", "offline too", "as a folder too")} == {"ValueError"}


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_deleting_the_altered_file_repairs_the_cache(outcomes, file):
    assert outcomes["tampering_in_the_cache"][file]["after deleting it"] is None


REFUSALS = {
    "unknown repository": ("FileNotFoundError", "'lab/nothing' is neither a folder nor a readable Hub repo"),
    "no name": ("FileNotFoundError", "write the repository as 'user/model'"),
    "private, no token": ("FileNotFoundError", "the Hub answered 401. Check the name, or log in"),
    "private, wrong token": ("PermissionError", "with status 401: the token is invalid"),
    "gated": ("PermissionError", "'lab/gated' asks for consent to its terms"),
    "unknown revision": ("FileNotFoundError", "'lab/sound' has no revision 'v9'"),
    "missing file": ("FileNotFoundError", "'lab/sound' holds no nothing.safetensors at revision"),
    "403": ("PermissionError", "refused config.json of 'lab/sound' at revision 'main' with status 403"),
    "404": ("ConnectionError", "answered with status 404 when asked for config.json of 'lab/sound'"),
    "429": ("ConnectionError", "answered with status 429"),
    "500": ("ConnectionError", "answered with status 500"),
    "503": ("ConnectionError", "answered with status 503"),
    "500 for the content": ("ConnectionError", "500 when asked for model.safetensors of 'lab/sound'"),
    "no Hub": ("ConnectionError", "does not answer as a Hub"),
    "timeout": ("ConnectionError", "cannot be reached (ReadTimeout)"),
    "forced offline": ("ValueError", "force_download=True needs the Hub"),
    "forced, 500": ("ConnectionError", "answered with status 500"),
    "not cached": ("FileNotFoundError", "config.json of 'lab/sound' at revision 'main' is not in the cache"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_failure_of_the_hub_is_one_sentence_and_its_remedy(outcomes, case):
    error, sentence = REFUSALS[case]

    outcome = outcomes["refusals"][case]

    assert outcome["error"] == error
    assert sentence in outcome["message"]
    assert "\n" not in outcome["message"]
    assert not outcome["chained"]


def test_a_private_repository_loads_with_its_token(outcomes):
    assert outcomes["refusals"]["private, right token"]["error"] is None


def test_an_unreachable_hub_is_named_unless_the_cache_has_the_model(outcomes):
    outcome = outcomes["unreachable"]

    assert outcome["not cached"]["error"] == "ConnectionError"
    assert "cannot be reached (ConnectError)" in outcome["not cached"]["message"]
    assert outcome["cached"]["error"] is None


def test_names_that_lead_outside_are_refused_before_anything_is_asked_or_written(outcomes):
    refused = outcomes["hostile_names"]["outcomes"]

    assert len(refused) == 10
    for sentence, requests in refused.values():
        assert "must be a name inside the repository" in sentence
        assert requests["methods"] == {}
    assert outcomes["hostile_names"]["written"] == []


def test_a_token_appears_in_no_message_and_no_object(outcomes):
    text = json.dumps(outcomes)

    assert [case["error"] for case in outcomes["token"].values() if "error" in case] == [
        "PermissionError",
        "ConnectionError",
        "ValueError",
        "ValueError",
    ]
    assert not any(secret in text for secret in SECRETS)


def test_a_token_appears_in_no_output(done):
    assert "Retrying" in done.stderr
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


def test_a_token_appears_in_no_saved_notebook(outcomes, folder):
    saved = (folder / "executed.ipynb").read_text()

    assert "lab/guarded" in saved
    assert "has no revision 'v9'" in outcomes["notebook"]["failed"]
    assert not any(secret in saved for secret in SECRETS)
