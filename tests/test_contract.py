"""What models say they expect."""

from dataclasses import FrozenInstanceError

import pytest

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet

MODELS = [CodeBrain, EEGDINO, EEGPT, FBLightConvNet]


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model_class(request):
    return request.param


def test_every_contract_names_the_same_facts(model_class):
    assert model_class.contract.model == model_class.__name__
    assert list(model_class.contract.facts()) == list(EEGPT.contract.facts())
    assert all(model_class.contract.facts().values())


def test_every_published_fact_has_a_source(model_class):
    contract = model_class.contract

    assert set(contract.sources) <= set(contract.facts())
    assert {"sampling rate", "unit", "filter", "window", "patch", "channels"} <= set(contract.sources)
    assert contract.open_questions


def test_patches_are_whole_samples_and_windows_whole_patches(model_class):
    contract = model_class.contract

    assert (contract.patch * contract.sfreq).is_integer()
    assert (contract.window / contract.patch).is_integer()


def test_a_contract_cannot_be_changed(model_class):
    with pytest.raises(FrozenInstanceError):
        model_class.contract.sfreq = 100.0
    with pytest.raises(TypeError, match="does not support item assignment"):
        model_class.contract.sources["unit"] = "me"


def test_a_contract_prints_facts_sources_and_open_questions(model_class):
    contract = model_class.contract
    text = " ".join(str(contract).split())

    for part in (*contract.facts().values(), *contract.sources.values(), *contract.open_questions):
        assert part in text
    assert max(map(len, str(contract).splitlines())) <= 100


def test_a_contract_renders_as_a_table(model_class):
    table = model_class.contract._repr_html_()

    assert table.count("<tr>") == table.count("</tr>") > len(model_class.contract.facts())
    assert f"{model_class.contract.sfreq:g} Hz" in table


def test_channels_are_looked_up_by_name():
    assert EEGDINO.contract.channel_ids(["C3", "CZ", "fp1"]) == (4, 17, 0)
    with pytest.raises(ValueError, match=r"EEGDINO knows Fp1, .*; got AF7, Oz. Leave these channels out"):
        EEGDINO.contract.channel_ids(["AF7", "C3", "Oz"])
    with pytest.raises(ValueError, match="FBLightConvNet knows no channel by name"):
        FBLightConvNet.contract.channel_ids(["C3"])
