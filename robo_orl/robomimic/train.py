"""Training a reference: robomimic's configuration, dataset and algorithm on the file that our policies learn from.

The rollouts of robomimic's own trainer and its choice of the best checkpoint are left out: a reference is
evaluated like every policy here, by its last checkpoint.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.data import DataLoader, Dataset, default_collate

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_json
from robo_orl.config import ReferenceConfig, TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.engine.interruption import deferred_interruption, describe_interruption
from robo_orl.engine.monitor import drop_rows_after, peak_memory, speed
from robo_orl.engine.run_folder import SUMMARY, run_lock, stored_summary
from robo_orl.robomimic.algorithms import captured_stdout, import_robomimic, robomimic_config
from robo_orl.robomimic.reference_data import open_reference_data
from robo_orl.robomimic.run_folder import (
    LEARNING,
    MODEL,
    ReferenceRun,
    ReferenceSummary,
    check_belongs,
    check_resumable,
    checkpoints,
    run_identity,
    save_checkpoint,
    trained,
    write_run,
)
from robo_orl.robomimic.training_loop import Batches, Training, progress_bar, seed_all, train_epoch
from robo_orl.robomimic.weights import read_state, read_weights

if TYPE_CHECKING:
    from robomimic.algo import Algo
    from robomimic.config import Config

CHECKPOINT_STEPS = 1000  # as our own trainings have it


def train_reference(
    reference: ReferenceConfig,
    task: TaskConfig,
    data: Path | str,
    out: Path,
    seed: int = 0,
    progress: bool = True,
    stop_at: int | None = None,
    accept_mismatch: bool = False,
) -> ReferenceSummary:
    """Train in the folder `out`, from its newest checkpoint if there is one; returns the summary (train.json).

    stop_at: end after this epoch with a checkpoint, as if interrupted there. Ctrl-C, or SIGTERM on the command line,
    ends it after the step under way, with a checkpoint too.

    Raises:
        UsageError: data of another task, without the keys, the mask or the next_obs that the algorithm needs, settings
            that robomimic refuses, a folder that holds another run.
        RunError: a loss that is not finite, a full disk; the checkpoints before stay. Interrupted among them.
    """
    out = Path(out)
    run = _resolve(reference, task, Path(data), seed, accept_mismatch)
    if (summary := _finished(run, out)) is not None:
        return summary
    import_robomimic()
    training = _build(run, out)  # what is refused here leaves no folder
    with run_lock(out):
        if (summary := _finished(run, out)) is not None:  # by the process that held the lock
            return summary
        write_run(out, run)
        _restore(training)
        epochs = reference.settings["train"]["num_epochs"]
        with describe_interruption(lambda: checkpoints(out)):
            _train(training, min(stop_at or epochs, epochs), progress)
        return _summarise(training, epochs)


def _finished(run: ReferenceRun, out: Path) -> ReferenceSummary | None:
    """The summary of this run where it is finished; UsageError where `out` holds another run."""
    check_resumable(out, run)
    summary = stored_summary(out, ReferenceSummary)
    if summary is not None:
        check_belongs(out / SUMMARY, summary.run, run)
    return summary


# ----------------------------------------------------------------------------------------------------------- the start


def _resolve(
    reference: ReferenceConfig, task: TaskConfig, data: Path, seed: int, accept_mismatch: bool
) -> ReferenceRun:
    """The run, checked against its data."""
    arrays = open_reference_data(reference, task, data, accept_mismatch)
    train = reference.settings["train"]
    if train["hdf5_load_next_obs"]:
        _check_next_obs(data, reference, arrays)
    longest = int(arrays.lengths[arrays.chosen(train["hdf5_filter_key"])].max())
    if train["seq_length"] > longest:
        raise UsageError(
            f"train.seq_length is {train['seq_length']}, and the longest episode of {data} has {longest} steps: every "
            "sequence would be padding in part."
        )
    obs = {key: arrays.spec[key] for key in sorted(arrays.spec)}  # robomimic's order
    return ReferenceRun(
        reference=reference,
        task=task,
        data=str(data),
        data_sha256=arrays.sha256,
        seed=seed,
        obs=obs,
        action_dim=arrays.action_dim,
    )


def _check_next_obs(data: Path, reference: ReferenceConfig, arrays: EpisodeArrays) -> None:
    with layout.open_hdf5(data) as file:
        lacking = [name for name in arrays.names if "next_obs" not in file["data"][name]]
    if lacking:
        if arrays.task is None:
            remedy = f"`robo-orl data convert {data} --task TASK --next-obs --out NEW.hdf5` writes it"
        else:
            regime = f" --regime {arrays.regime}" if arrays.regime else ""
            task = arrays.task.name
            remedy = f"record the same episodes with `robo-orl data generate --task {task}{regime} --next-obs ...`"
        raise UsageError(
            f"{reference.algorithm} learns from next_obs, which {data} does not hold ({lacking[0]} has none); {remedy}."
        )


def _build(run: ReferenceRun, out: Path) -> Training:
    """Dataset and algorithm, freshly initialised."""
    from robo_orl.robomimic.algo import build_algo

    train = run.reference.settings["train"]
    config = robomimic_config(run.reference, list(run.obs), run.data, run.seed)
    seed_all(run.seed, "initialisation")
    algo = build_algo(config, {key: [size] for key, size in run.obs.items()}, run.action_dim)
    dataset = _dataset(config, list(run.obs), algo)
    if len(dataset) < train["batch_size"]:
        raise UsageError(
            f"{run.data} gives {len(dataset)} sequences, fewer than one batch of {train['batch_size']}; set "
            "train.batch_size lower or generate more episodes."
        )
    loader = DataLoader(
        dataset, train["batch_size"], shuffle=True, num_workers=train["num_data_workers"], drop_last=True
    )
    stats = dataset.get_obs_normalization_stats() if train["hdf5_normalize_obs"] else None
    return Training(run, out, config, algo, loader, stats, epoch=0, wall_s=0.0)


def _restore(training: Training) -> None:
    """Continue from the newest checkpoint, if there is one."""
    from robo_orl.robomimic.algo import restore_learning

    if stored := checkpoints(training.out):
        weights, learning = read_weights(stored[-1] / MODEL), read_state(stored[-1] / LEARNING)
        check_belongs(stored[-1] / LEARNING, learning.get("run"), training.run)
        training.algo.deserialize(weights["model"])
        restore_learning(training.algo, learning["algo"])
        training.wall_s = learning["wall_s"]
        training.epoch, training.within = trained(stored[-1])
        if training.within:
            training.batches = Batches.restored(training.loader, learning["batches"])
    drop_rows_after(training.out / "metrics.jsonl", training.step)


def _dataset(config: Config, keys: list[str], algo: Algo) -> Dataset:
    """robomimic's own dataset; settings that give no batch are refused with its message."""
    from robomimic.utils.train_utils import dataset_factory

    try:
        with captured_stdout():
            dataset = dataset_factory(config, keys, filter_by_attribute=config.train.hdf5_filter_key)
            algo.process_batch_for_training(default_collate([dataset[0], dataset[len(dataset) - 1]]))
    except (AssertionError, LookupError, ValueError, RuntimeError) as error:
        reason = f"{type(error).__name__} {error}".strip()
        raise UsageError(
            f"{config.train.data} makes no batch for {config.algo_name} with these settings ({reason})."
        ) from None
    return dataset


# ------------------------------------------------------------------------------------------------- epochs, and the end


def _train(training: Training, last: int, progress: bool) -> None:
    """Epochs up to `last`, a checkpoint every CHECKPOINT_STEPS, at the end and on interruption."""
    with progress_bar(training, progress) as bar, deferred_interruption() as interruption:
        while training.epoch < last:
            due = (training.step // CHECKPOINT_STEPS + 1) * CHECKPOINT_STEPS
            train_epoch(training, bar, interruption, due)
            stopped = interruption.requested
            if stopped or training.step == due or training.epoch == last:
                _save(training)
            if stopped and training.epoch < last:
                raise KeyboardInterrupt


def _save(training: Training) -> None:
    """Save robomimic's own dictionary, as its `save_model` writes it, and the state that it leaves out."""
    import robomimic.utils.tensor_utils as tensor_utils
    from robomimic.utils.file_utils import get_env_metadata_from_dataset

    from robo_orl.robomimic.algo import learning_state

    run, config = training.run, training.config
    model = {
        "model": training.algo.serialize(),
        "config": config.dump(),
        "algo_name": config.algo_name,
        "env_metadata": get_env_metadata_from_dataset(run.data),
        "shape_metadata": {
            "ac_dim": run.action_dim,
            "all_shapes": {key: [size] for key, size in run.obs.items()},
            "all_obs_keys": list(run.obs),
            "use_images": False,
        },
    }
    if training.stats is not None:
        model["obs_normalization_stats"] = tensor_utils.to_list(training.stats)
    learning = {"algo": learning_state(training.algo), "wall_s": training.seconds, "run": run_identity(run)}
    if training.batches is not None:
        learning["batches"] = training.batches.state()
    save_checkpoint(training.out, training.epoch, training.within, model, learning)


def _summarise(training: Training, epochs: int) -> ReferenceSummary:
    """The summary, stored where the run is finished."""
    from robo_orl.robomimic.algo import parameter_counts

    reference, (used, measure) = training.run.reference, peak_memory()
    summary = ReferenceSummary(
        algorithm=reference.algorithm,
        library=reference.library,
        steps=training.epoch * training.steps_per_epoch,
        epochs=training.epoch,
        wall_s=training.seconds,
        **asdict(speed(training.out / "metrics.jsonl", reference.batch_size)),
        peak_memory_bytes=used,
        peak_memory_of=measure,
        parameters=parameter_counts(training.algo),
        finished=training.epoch == epochs,
        run=run_identity(training.run),
    )
    if summary.finished:
        write_json(training.out / SUMMARY, summary.to_json())
    return summary
