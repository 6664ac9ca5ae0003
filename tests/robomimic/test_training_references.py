"""robomimic's algorithms learn from our files, continue where they stopped, and refuse what they cannot do."""

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys

import pytest
import synthetic
import torch
from scripted_scene import TASK
from tiny_references import settings
from toy_run import episode

from robo_orl.base.errors import Interrupted, RunError, UsageError
from robo_orl.base.locks import folder_lock
from robo_orl.data.cache import open_cache
from robo_orl.robomimic.algorithms import ALGORITHMS, resolve
from robo_orl.robomimic.evaluation import load_run
from robo_orl.robomimic.run_folder import checkpoints
from robo_orl.robomimic.train import train_reference
from robo_orl.robomimic.weights import read_weights

pytest.importorskip("robomimic", reason="robomimic is not installed")


def tensors(values, at=""):
    """Dotted name -> tensor of nested state dictionaries."""
    if isinstance(values, torch.Tensor):
        return {at: values}
    return {k: v for name, item in values.items() for k, v in tensors(item, f"{at}.{name}").items()}


def weights(run):
    return tensors(read_weights(checkpoints(run)[-1] / "model.pth")["model"])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_interrupted_run_ends_as_the_one_that_was_not(name, trained):
    whole = trained(name, folder="whole")
    trained(name, folder="cut", stop_at=1)
    first, cut = weights(whole.parent / "cut"), trained(name, folder="cut")
    ours, theirs = weights(whole), weights(cut)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(not torch.equal(ours[key], first[key]) for key in ours), "the second step learned nothing"


@pytest.fixture
def stopping(monkeypatch):
    """A function: SIGTERM comes, as on the command line, while the n-th batch from now is read."""
    from robo_orl.robomimic.training_loop import Batches

    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    read = Batches.__next__

    def at(number):
        left = itertools.count(number, -1)

        def taken(batches):
            if next(left) == 1:
                signal.raise_signal(signal.SIGTERM)
            return read(batches)

        monkeypatch.setattr(Batches, "__next__", taken)

    yield at
    signal.signal(signal.SIGTERM, old)


LONG = ("experiment.epoch_every_n_steps=40", "train.batch_size=16")  # an epoch is several passes over the data


@pytest.mark.parametrize("name", ALGORITHMS)
def test_stopped_within_an_epoch_it_ends_as_the_run_that_was_not(name, trained, stopping):
    """Draws and order of the data are taken up where they were, in the middle of a pass too."""
    whole = trained(name, *LONG, folder="whole")
    stopping(53)
    with pytest.raises(Interrupted, match="goes on from epoch_00001_step_00000013"):
        trained(name, *LONG, folder="cut")
    cut = whole.parent / "cut"
    steps = [json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 30, 40, 50, 53] and not (cut / "train.json").exists()
    assert load_run(cut, None).step == 53, "what is there can be judged"
    ours, theirs = weights(whole), weights(trained(name, *LONG, folder="cut"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert [path.name for path in checkpoints(cut)] == ["epoch_00001_step_00000013", "epoch_00002"]


def test_checkpoints_do_not_wait_for_the_end_of_a_long_epoch(trained, monkeypatch):
    """td3_bc has epochs of 5,000 steps: a killed run loses less than that, and ends the same."""
    whole = trained("td3_bc", *LONG, folder="whole")
    monkeypatch.setattr("robo_orl.robomimic.train.CHECKPOINT_STEPS", 15)
    cut = trained("td3_bc", *LONG, folder="cut", stop_at=1)
    assert [path.name for path in checkpoints(cut)] == ["epoch_00000_step_00000030", "epoch_00001"]
    shutil.rmtree(checkpoints(cut)[-1])
    ours, theirs = weights(whole), weights(trained("td3_bc", *LONG, folder="cut"))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_summary_counts_steps_and_parameters(trained):
    summary = json.loads((trained("iql") / "train.json").read_text())
    assert (summary["steps"], summary["finished"]) == (2, True)
    parts = {name: count for name, count in summary["parameters"].items() if name != "total"}
    assert set(parts) == {"critic", "critic_target", "vf", "actor"}
    assert sum(parts.values()) == summary["parameters"]["total"]


def test_a_finished_run_is_not_trained_again(trained):
    before = weights(trained("iql"))
    assert all(torch.equal(value, before[key]) for key, value in weights(trained("iql")).items())


def test_the_seed_decides_the_weights(trained):
    first, second = weights(trained("iql", folder="a", seed=0)), weights(trained("iql", folder="b", seed=1))
    assert any(not torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("iql", ["algo.discount=0.5"], r"another settings.algo.discount \(0.99 there, 0.5 here\)"),
        ("td3_bc", [], r"another algorithm \(iql there, td3_bc here\)"),
        ("iql", ["low_dim=[position]"], r"another low_dim \(None there, \['position'\] here\)"),
    ],
)
def test_another_run_in_the_folder_is_refused(trained, name, more, sentence):
    trained("iql")
    with pytest.raises(UsageError, match=sentence):
        trained(name, *more)


def test_other_data_than_the_folders_run_are_refused(trained, line, tmp_path):
    run = trained("iql")
    other = synthetic.write(tmp_path / "other.hdf5", [episode(9)], next_obs=True, task=TASK)
    with pytest.raises(UsageError, match="trained on other data than .*other.hdf5"):
        train_reference(resolve("iql", settings("iql")), TASK, other, run, progress=False)


@pytest.mark.parametrize("name", ["iql", "hbc"])
def test_a_file_without_next_obs_is_refused_with_the_remedy(name, tmp_path):
    bare = synthetic.write(tmp_path / "bare.hdf5", [episode(0)], task=TASK)
    with pytest.raises(UsageError, match="data generate --task line .*--next-obs"):
        train_reference(resolve(name), TASK, bare, tmp_path / "run", progress=False)


def test_cloning_needs_no_next_obs(tmp_path):
    bare = synthetic.write(tmp_path / "bare.hdf5", [episode(0)], task=TASK)
    reference = resolve("bc_rnn_gmm", settings("bc_rnn_gmm"))
    assert train_reference(reference, TASK, bare, tmp_path / "run", progress=False).finished


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["algo.discont=1"], "Did you mean 'discount'"),
        (["algo.discount=much"], "expected a number like its default 0.99"),
        (["train.seed=3"], "the option --seed sets this"),
        (["train.data=a.hdf5"], "the option --data sets this"),
        (["train.cuda=false"], "Unknown setting of iql in train 'cuda'"),
        (["experiment.rollout.n=3"], "'rollout'"),
        (["algo=3"], "a group of settings"),
        (["low_dim=object"], "list of observation keys"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(more, sentence):
    with pytest.raises(UsageError, match=sentence):
        resolve("iql", more)


@pytest.mark.parametrize(
    ("name", "more", "sentence"),
    [
        ("iql", ["algo.discount=7"], "a number from 0 to 1, got 7"),
        ("iql", ["algo.discount=.nan"], "a number like its default 0.99"),
        ("iql", ["algo.vf_quantile=5"], "a number between 0 and 1, got 5"),
        ("iql", ["algo.target_tau=0"], "above 0 and at most 1"),
        ("iql", ["algo.critic.max_gradient_norm=off"], "a number above 0, got False"),
        ("iql", ["algo.optim_params.actor.learning_rate.initial=-1"], "a number above 0"),
        ("iql", ["train.num_data_workers=-1"], "a number 0 or more"),
        ("iql", ["train.num_epochs=0"], "a whole number of 1 or more, like its default 2000, got 0"),
        ("iql", ["train.num_epochs=-1"], "a whole number of 1 or more"),
        ("iql", ["train.num_epochs=1.5"], "a whole number of 1 or more"),
        ("bc_rnn_gmm", ["algo.rnn.horizon=5"], "algo.rnn.horizon is 5 and train.seq_length is 10"),
        ("bc_rnn_gmm", ["train.seq_length=5"], "algo.rnn.horizon is 10 and train.seq_length is 5"),
        ("bc_transformer", ["train.frame_stack=5"], "algo.transformer.context_length is 10"),
        ("hbc", ["algo.actor.rnn.horizon=5"], "algo.actor.rnn.horizon is 5"),
    ],
)
def test_a_value_that_means_nothing_is_refused(name, more, sentence):
    with pytest.raises(UsageError, match=sentence):
        resolve(name, more)


def test_a_limit_may_be_switched_off():
    assert (
        resolve("iql", ["algo.critic.max_gradient_norm=null"]).settings["algo"]["critic"]["max_gradient_norm"] is None
    )


def test_nobody_is_told_of_robomimics_tanh(trained, recwarn):
    trained("cql")
    assert not [str(warning.message) for warning in recwarn if "arg_constraints" in str(warning.message)]


def test_an_unknown_algorithm_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'td3_bc'"):
        resolve("td3bc")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["low_dim=[positoin]"], "Did you mean 'position'"),
        (["train.hdf5_filter_key=succes"], "Did you mean 'success'"),
        (["train.batch_size=1000"], "fewer than one batch"),
        (["train.seq_length=1000"], "train.seq_length is 1000, and the longest episode of .*line.hdf5 has"),
        (["algo.actor.net.type=magic"], "robomimic cannot build"),
        (["train.hdf5_normalize_obs=true", "train.seq_length=3"], "no batch for iql .*AssertionError"),
        (["train.hdf5_normalize_obs=true", "train.frame_stack=3", "train.hdf5_cache_mode=low_dim"], "no batch for iql"),
        (["train.hdf5_load_next_obs=false"], "no batch for iql .*next_obs"),
    ],
)
def test_a_setting_that_the_data_or_robomimic_cannot_serve_is_refused(trained, more, sentence):
    with pytest.raises(UsageError, match=sentence):
        trained("iql", *more)


SMALL_DISK = """
import resource, signal, sys
sys.path[:0] = {paths!r}
from pathlib import Path
from robo_orl.config import TaskConfig
from robo_orl.robomimic.algorithms import resolve
from robo_orl.robomimic.train import train_reference
task = TaskConfig.model_validate_json({task!r})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
train_reference(resolve("bc_rnn_gmm", {settings!r}), task, Path({data!r}), Path({out!r}), progress=False)
"""


def test_a_full_disk_is_a_sentence_and_leaves_no_half_checkpoint(line, tmp_path):
    open_cache(line)  # whose files are larger
    names = {"task": TASK.model_dump_json(), "settings": list(settings("bc_rnn_gmm"))}
    code = SMALL_DISK.format(paths=sys.path, data=str(line), out=str(tmp_path / "run"), **names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert re.search(r"RunError: The disk is full: .*checkpoints", done.stderr.strip().splitlines()[-1]), done.stderr
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": 3}'])
def test_a_damaged_summary_says_what_to_delete(trained, content):
    run = trained("iql")
    (run / "train.json").write_text(content)
    with pytest.raises(RunError, match="train.json is damaged.*delete it, and the same command writes it"):
        trained("iql")


def test_results_without_their_request_are_not_believed(trained):
    run = trained("iql")
    (run / "reference.json").unlink()
    with pytest.raises(UsageError, match="holds results without the reference.json of their run"):
        trained("iql")


def test_one_training_at_a_time_writes_into_a_folder(trained, monkeypatch):
    run = trained("iql", "train.num_epochs=2", stop_at=1)
    monkeypatch.setattr("robo_orl.base.locks.time.monotonic", itertools.count(0, 10).__next__)
    with folder_lock(run, "training"), pytest.raises(UsageError, match="Another process is training in"):
        trained("iql", "train.num_epochs=2")


@pytest.mark.parametrize("file", ["learning.pt", "train.json"])
def test_a_checkpoint_and_a_summary_name_their_run_and_is_not_believed_in_another(trained, file):
    """The files of seed 1 under the reference.json of seed 0, as two processes without a lock would leave them."""
    last = "train.num_epochs=2" if file == "train.json" else "train.num_epochs=3"
    run = trained("iql", last, stop_at=2)
    _put_under_another_seed(run)
    _without_the_others(run, file)
    with pytest.raises(UsageError, match=f"{file} belongs to another run than its folder's reference.json"):
        trained("iql", last, seed=1)


def _put_under_another_seed(run):
    request = json.loads((run / "reference.json").read_text())
    request["run"]["seed"] = 1
    (run / "reference.json").write_text(json.dumps(request))


def _without_the_others(run, file):
    """Take the name of its run out of the files that are not `file`, as older ones have it."""
    for path in run.glob("checkpoints/*/*.p*"):
        if path.name != file:
            torch.save({k: v for k, v in torch.load(path, weights_only=True).items() if k != "run"}, path)


def test_a_checkpoint_of_another_run_is_not_evaluated(trained):
    run = trained("iql")
    _put_under_another_seed(run)
    with pytest.raises(UsageError, match="run.json belongs to another run"):
        load_run(run, None)
    for file in run.glob("checkpoints/*/run.json"):  # as an earlier version wrote them
        file.unlink()
    with pytest.raises(UsageError, match="learning.pt belongs to another run"):
        load_run(run, None)


def test_what_training_goes_on_from_is_not_read_for_an_evaluation(trained):
    run = trained("iql")
    for file in run.glob("checkpoints/*/learning.pt"):
        file.unlink()
    assert load_run(run, None).step == 2
