"""Checkpoints are loaded whole or not at all, without the network; published sizes are counted, not believed."""

import socket

import pytest
import tiny_vlms as tiny
import torch
import toy_agents as toy
from safetensors.torch import load_file, save_file

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config.presets import load_policy
from robo_orl.models.backbones.vlm import VLM
from robo_orl.models.vlm.architectures import Architecture, architecture, architectures
from robo_orl.models.vlm.loading import configuration

MERGES = [("c", "u"), ("b", "e"), ("cu", "be")]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Whoever asks the network fails."""

    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def save(model: Architecture, folder, merges=None) -> str:
    """A checkpoint as the hub has it: the model with its output layer, its configuration, its tokeniser."""
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(7)
    AutoModelForImageTextToText.from_config(configuration(model)).save_pretrained(folder)
    tiny.tokenizer(model, merges).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=tiny.FAMILIES)
def saved(request, tmp_path):
    """(size, weights) of a tiny model of every family."""
    return tiny.written(request.param, tmp_path), save(tiny.tiny(request.param), tmp_path / "weights")


@pytest.fixture
def debug(tmp_path):
    """The folder of a checkpoint of the shipped debug model."""
    save(architecture("debug"), tmp_path / "weights")
    return tmp_path / "weights"


def test_a_checkpoint_is_loaded_from_a_folder_without_the_network(saved):
    size, weights = saved
    model = tiny.backbone(size, weights=weights, seed=1)
    stored = load_file(f"{weights}/model.safetensors")
    words = model.model.get_input_embeddings().weight
    assert any(value.shape == words.shape and torch.equal(value, words) for value in stored.values())
    assert torch.isfinite(model(tiny.observation(model))).all()
    other = tiny.backbone(size, weights=weights, seed=2)
    for name, value in model.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), f"{name} is random"


def test_text_is_cut_by_the_tokeniser_beside_the_weights(tmp_path):
    size, model = tiny.written("debug", tmp_path), tiny.tiny("debug")
    weights = save(model, tmp_path / "weights", MERGES)
    random, loaded = tiny.backbone(size), tiny.backbone(size, weights=weights)
    bytes_of, words_of = (VLM.tokeniser(m.config)(["a cube"])[0] for m in (random, loaded))
    assert bytes_of.shape == (1, 6) and words_of.shape == (1, 3)


def test_a_checkpoint_that_lacks_parameters_is_an_error_that_names_them(debug):
    path = debug / "model.safetensors"
    stored = load_file(path)
    gone = [name for name in stored if "layers.2.mlp" in name]
    save_file({name: value for name, value in stored.items() if name not in gone}, path, metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"lacks 3 parameters: text_model\.layers\.2\.mlp\.down_proj\.weight, "):
        tiny.backbone("debug", weights=str(debug))


def test_a_checkpoint_with_parameters_of_another_model_is_an_error_that_names_them(debug):
    path = debug / "model.safetensors"
    save_file(load_file(path) | {"model.adapter.weight": torch.ones(2)}, path, metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"beside the model, 1 parameters: .*adapter\.weight"):
        tiny.backbone("debug", weights=str(debug))


def test_a_damaged_file_is_one_sentence(debug):
    path = debug / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(RunError, match="cannot be read") as error:
        tiny.backbone("debug", weights=str(debug))
    assert "\n" not in str(error.value)


def test_weights_of_another_family_are_refused(tmp_path):
    weights = save(tiny.tiny("qwen3vl_4b"), tmp_path / "weights")
    with pytest.raises(UsageError, match="is a qwen3_vl, backbone.size debug is a smolvlm"):
        tiny.backbone("debug", weights=weights)


def test_weights_of_another_size_are_refused(tmp_path):
    narrow = tiny.tiny("debug")
    narrow.config["text_config"]["intermediate_size"] = 64
    weights = save(narrow, tmp_path / "weights")
    with pytest.raises(
        UsageError, match=r"9 parameters differ, text_model\.layers\.0\.mlp\.down_proj\.weight is \(96, 64"
    ):
        tiny.backbone("debug", weights=weights)


def test_the_tokeniser_of_another_model_is_refused(debug):
    strange = architecture("debug").model_copy(update={"special_tokens": {"<image>": 275}})
    tiny.tokenizer(strange).save_pretrained(debug)
    with pytest.raises(UsageError, match="of different models"):
        tiny.backbone("debug", weights=str(debug))


@pytest.mark.parametrize("weights", ["nowhere/to/be/found", "somebody/smolvlm"])
def test_weights_that_are_not_here_are_one_sentence_with_the_remedy(weights):
    with pytest.raises(UsageError, match="set backbone.download to true") as error:
        tiny.backbone("debug", weights=weights)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", architectures())
def test_every_architecture_has_the_parameters_that_were_published(size):
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        whole = AutoModelForImageTextToText.from_config(configuration(architecture(size)))
    assert sum(p.numel() for p in whole.parameters()) == architecture(size).parameters


@pytest.mark.parametrize("size", architectures())
def test_an_agent_of_every_size_is_built_on_the_meta_device_critic_model_included(size):
    policy = load_policy("vla_iql")
    layers = min(policy.backbone.layers, architecture(size).depth)
    backbone = policy.backbone.model_copy(update={"size": size, "layers": layers})
    policy = policy.model_copy(update={"critic": policy.critic.model_copy(update={"topology": "separate"})})
    with torch.device("meta"):
        agent = toy.agent(policy.model_copy(update={"backbone": backbone}))
    counts = agent.parameter_counts()
    assert all(p.is_meta for p in agent.parameters())
    assert counts["critic"] > counts["backbone"] > 0.8 * architecture(size).parameters


def test_models_are_built_whole_while_a_zero3_configuration_is_live():
    """`transformers` would partition them at once: random weights would depend on the engine, copies would be empty."""
    from transformers.integrations import deepspeed

    live = type("Config", (), {"is_zero3": lambda self: True})()
    deepspeed.set_hf_deepspeed_config(live)
    try:
        model = tiny.backbone("debug")
        assert deepspeed.is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()
    expected = tiny.backbone("debug").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
