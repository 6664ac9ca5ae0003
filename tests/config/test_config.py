"""Configurations are values: validated with one sentence, merged, overridden, hashed."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.config import (
    GammaConfig,
    PolicyConfig,
    TaskConfig,
    apply_overrides,
    deep_merge,
    parse,
    read_yaml,
)

POLICY = {"name": "p", "critic": {"topology": "shared"}}


def test_an_unknown_key_is_refused_and_the_nearest_is_named():
    with pytest.raises(UsageError, match="policy p: Unknown key in critic 'topologi'. Did you mean 'topology'"):
        parse(PolicyConfig, {"name": "p", "critic": {"topologi": "shared"}}, "policy p")


@pytest.mark.parametrize(
    "values, says",
    [
        ({"critic": {"topology": "both"}}, "critic.topology"),
        ({"optim": {"batch_size": 7}}, "even"),
        ({"action_head": {"chunk": 4, "execute": 5}}, "execute"),
        ({"gamma": {"fixed": 0.9, "matched": 3}}, "either"),
        ({"optim": {"lr": -1}}, "optim.lr"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(values, says):
    with pytest.raises(UsageError, match=says):
        parse(PolicyConfig, POLICY | values, "policy p")


def test_overrides_reach_nested_keys_and_read_yaml_scalars():
    values = apply_overrides(POLICY, ["critic.ensemble=10", "gamma={fixed: 0.9}", "optim.lr=0.003"])
    policy = parse(PolicyConfig, values, "p")
    assert (policy.critic.ensemble, policy.gamma.fixed, policy.optim.lr) == (10, 0.9, 0.003)
    assert policy.critic.topology == "shared"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("key", ["optim.lr", "optim.clip_norm", "optim.weight_decay", "gamma.fixed"])
def test_an_infinite_number_is_refused_by_its_place(key, value):
    with pytest.raises(UsageError, match=f"policy p: {key}: Input should be a finite number"):
        parse(PolicyConfig, apply_overrides(POLICY, [f"{key}={value}"]), "policy p")


@pytest.mark.parametrize("item", ["no-equals", "=3", "a.b=[1"])
def test_a_malformed_override_is_a_usage_error(item):
    with pytest.raises(UsageError):
        apply_overrides({}, [item])


def test_merging_keeps_what_is_not_overridden_and_null_removes():
    assert deep_merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}}) == {"a": {"x": 1, "y": 5}, "b": 3}
    assert deep_merge(POLICY, {"critic": None})["critic"] is None


def test_the_digest_depends_on_every_value_and_on_nothing_else():
    one = parse(PolicyConfig, POLICY, "p")
    same = parse(PolicyConfig, {"critic": {"topology": "shared"}, "name": "p"}, "p")
    other = parse(PolicyConfig, POLICY | {"optim": {"lr": 0.002}}, "p")
    assert one.digest() == same.digest() != other.digest()


def test_a_task_twice_as_fast_has_twice_the_horizon_and_padding_adds_to_it():
    task = {"name": "t", "env": "lift", "stages": ["a", "b"], "max_seconds": 10}
    assert TaskConfig(**task).horizon == 200
    assert TaskConfig(**task, control_hz=40).horizon == 400
    assert TaskConfig(**task, padding=1.0).horizon == 240


def test_a_matched_discount_follows_the_horizon():
    assert GammaConfig(matched=2.0).value(200) == pytest.approx(0.99)


@pytest.mark.parametrize("matched", [160, 1000])
def test_a_matched_discount_of_the_horizon_or_more_is_refused(matched):
    with pytest.raises(UsageError, match=f"gamma.matched is {matched}, and the task has 160 decisions: .* below 160"):
        GammaConfig(matched=matched).value(160)
    assert GammaConfig(fixed=0.95).value(200) == 0.95


def test_a_backup_reaches_over_the_chunk_over_what_is_executed_or_n_frames():
    head = {"action_head": {"chunk": 10, "execute": 5}}
    assert PolicyConfig.model_validate({"name": "p"} | head).n == 10
    assert PolicyConfig.model_validate({"name": "p", "n_step": "execute"} | head).n == 5
    assert PolicyConfig.model_validate({"name": "p", "n_step": 3} | head).n == 3
    with pytest.raises(ValidationError):
        PolicyConfig.model_validate({"name": "p", "n_step": "chunk"} | head)


@pytest.mark.parametrize("text", ["- a list", "a: [", "just text"])
def test_a_yaml_file_that_is_no_mapping_is_a_usage_error(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="x.yaml"):
        read_yaml(path)


@pytest.mark.parametrize(
    "text, key, lines",
    [
        ("critic: {tau: 0.1}\noptim: {lr: 1}\ncritic: {tau: 0.2}\n", "critic", "1 and 3"),
        ("optim: {lr: 1, steps: 2, lr: 3}\n", "lr", "1 and 1"),
        ("groups:\n- a: 1\n  b: {c: 1}\n  a: 2\n", "a", "2 and 4"),
    ],
)
def test_a_key_that_stands_twice_in_a_yaml_is_refused(tmp_path, text, key, lines):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"x.yaml: the key '{key}' stands twice, in lines {lines}"):
        read_yaml(path)


def test_a_key_may_override_one_that_is_merged_in(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 3}\nc: {<<: *b, x: 4}\nd: *b\n")
    assert read_yaml(path) == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 4, "y": 3}, "d": {"x": 1, "y": 3},
    }  # fmt: skip


@pytest.mark.parametrize("key", ["optim.batch_size", "action_head.chunk", "critic.ensemble", "selection.num_samples"])
def test_a_number_beyond_any_machine_is_one_sentence(key):
    values = apply_overrides({"name": "p"}, [f"{key}=1000000000000000"])
    with pytest.raises(UsageError, match=f"policy: {key}: Input should be less than or equal to"):
        parse(PolicyConfig, values, "policy")


def test_text_is_utf_8_whatever_the_locale(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("name: caf\u00e9\n".encode())
    code = (
        f"from pathlib import Path; from robo_orl.config import read_yaml; print(ascii(read_yaml(Path({str(path)!r}))))"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "{'name': 'caf\\xe9'}\n"
    path.write_bytes("a: 1\nname: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"x.yaml is not UTF-8 text: byte 0xe9 in line 2; save it"):
        read_yaml(path)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="Cannot read"):
        read_yaml(tmp_path / "none.yaml")


def test_a_pipe_as_a_preset_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "policy.yaml")
    with pytest.raises(UsageError, match="policy.yaml is a pipe or a device; give a regular file"):
        read_yaml(tmp_path / "policy.yaml")
