"""A checkpoint from elsewhere is data: whatever in it would run code is refused."""

import json

import pytest
import torch

from robo_orl.base.errors import UsageError
from robo_orl.robomimic.run_folder import checkpoints
from robo_orl.robomimic.weights import read_weights

pytest.importorskip("robomimic", reason="robomimic is not installed")


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def checkpoint(trained):
    return torch.load(checkpoints(trained("iql"))[-1] / "model.pth", weights_only=True)


def test_a_pickle_that_executes_code_is_refused_unless_it_is_trusted(trained, tmp_path):
    mark, file = tmp_path / "exploded", tmp_path / "bomb.pth"
    torch.save(checkpoint(trained) | {"extra": Bomb(mark)}, file)
    with pytest.raises(UsageError, match="could execute code.*--trust-pickle"):
        read_weights(file)
    assert not mark.exists()
    read_weights(file, trust_pickle=True)
    assert mark.exists()


@pytest.mark.parametrize("trust", [False, True])
def test_a_configuration_that_executes_code_is_refused(trained, tmp_path, trust):
    """robomimic evaluates the names of picture encoders as Python."""
    values = checkpoint(trained)
    config = json.loads(values["config"])
    config["observation"]["modalities"]["obs"]["rgb"] = ["agentview_image"]
    config["observation"]["encoder"]["rgb"]["core_kwargs"] = {"backbone_class": "open('exploded', 'w')"}
    torch.save(values | {"config": json.dumps(config)}, tmp_path / "rgb.pth")
    with pytest.raises(UsageError, match="low-dim observations only"):
        read_weights(tmp_path / "rgb.pth", trust)


def test_an_encoder_before_low_dim_keys_is_refused(trained, tmp_path):
    values = checkpoint(trained)
    config = json.loads(values["config"])
    config["observation"]["encoder"]["low_dim"]["core_class"] = "VisualCore"
    torch.save(values | {"config": json.dumps(config)}, tmp_path / "core.pth")
    with pytest.raises(UsageError, match="VisualCore"):
        read_weights(tmp_path / "core.pth")


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"no checkpoint at all", "text or a file of another kind"),
        (b"epochs: 5", "text or a file of another kind"),
        (b"PK\x03\x04 cut short", "it is cut short"),
        (b"\x80\x02}q", "cannot be read|cut short"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(content, sentence, trust, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UsageError, match=f"a.pth .*({sentence})") as told:
        read_weights(tmp_path / "a.pth", trust)
    assert "--trust-pickle" not in str(told.value)


def test_half_a_checkpoint_is_called_cut_short(trained, tmp_path):
    whole = (checkpoints(trained("iql"))[-1] / "model.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="it is cut short, so copy it again"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("section", ["algo", "train", "experiment", "observation"])
def test_a_configuration_that_lacks_a_section_is_refused(trained, tmp_path, section):
    values = checkpoint(trained)
    config = {name: part for name, part in json.loads(values["config"]).items() if name != section}
    torch.save(values | {"config": json.dumps(config)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="its configuration cannot be read"):
        read_weights(tmp_path / "a.pth")


def test_a_checkpoint_of_something_else_is_named(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(UsageError, match="no 'model'"):
        read_weights(tmp_path / "a.pth")
