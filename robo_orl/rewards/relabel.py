"""A copy of a data file whose rewards, success and terminals are those of a source, with the source written into it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256, folder_beside
from robo_orl.base.locks import shard_folder
from robo_orl.config import RewardConfig, sha256_of
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import EpisodeArrays, Reading
from robo_orl.data.cache import open_cache
from robo_orl.data.hdf5 import check_space
from robo_orl.data.info import FileSummary, describe
from robo_orl.data.windows import returns_to_go
from robo_orl.results.addresses import evaluation_gamma
from robo_orl.rewards.annotations import labels_of_files
from robo_orl.rewards.copies import Copy, write_copy
from robo_orl.rewards.labels import draw_labels, unlabelled
from robo_orl.rewards.networks import (
    MODEL,
    Networks,
    SavedModel,
    check_observations,
    identity_of,
    read_model,
    unseen,
)
from robo_orl.rewards.quality import quality
from robo_orl.rewards.registry import make_source
from robo_orl.rewards.scale import ReturnScale, lasting, scale_of
from robo_orl.rewards.source import Judgement, Material, Parts, Source, episode_means

PARTS = "*.[ns][pa][yf]*"  # what a call leaves when it is interrupted: .npy and .safetensors
GAMMA_ELSEWHERE = 0.99  # of a file that does not name its task


@dataclass(frozen=True, slots=True)
class Relabelled:
    """A relabelled file, and what it says of its reward."""

    summary: FileSummary
    reward: dict[str, Any]
    already_complete: bool = False

    def to_json(self) -> dict[str, Any]:
        """One flat object: the file's summary, then the reward."""
        return self.summary.to_json() | {"reward": self.reward, "already_complete": self.already_complete}


def relabel(
    path: Path,
    config: RewardConfig | None,
    out: Path,
    annotations: tuple[Path, ...] = (),
    workers: int | None = None,
    progress: bool = False,
    model: Path | None = None,
    save_model: Path | None = None,
) -> Relabelled:
    """Write `out`, the episodes of `path` with the rewards of `config`, and describe it.

    annotations: journals of `data label`, whose labels are taken in the place of labels drawn from the truth. model: a
    saved model, which judges without labels by its own configuration; config is None then. save_model: the folder to
    keep the networks in. A killed call leaves its finished parts beside `out`, and the same call goes on from there; a
    file that is there and answers the same request is left as it is. Raises UsageError for a file that is relabelled
    already, for an `out` that holds something else, for what the source does not take, and for a model of other
    observations.
    """
    saved = None if model is None else read_model(model)
    config = config if saved is None else saved.saved.config
    source = make_source(config)
    with layout.open_hdf5(path) as file:
        _check_fresh(path, file)
    request = _request(path, config, annotations, saved)
    if out.exists():
        return _existing(out, request, save_model)
    arrays = open_cache(path, reading=Reading(rewards=False))
    if saved is None:
        source.check(arrays)
    else:
        check_observations(saved, arrays)
    check_space(out, path.stat().st_size)
    folder = folder_beside(out, "parts")
    with shard_folder(folder, sha256_of(request), PARTS, "relabelling"):
        networks = saved or Networks(folder)
        material = _material(source, arrays, path, annotations, Parts(folder), networks, workers, progress)
        judged = _lasting(source.judge(material), material)
        kept = _kept(source, material)
        written = _provenance(request, material, judged, kept)
        success = called_successes(arrays, judged, config.best)
        reward = ReturnScale(**written["scale"]).apply(arrays, judged.reward)
        if save_model is not None:
            networks.save(save_model, _saved(material, source))
        write_copy(out, path, Copy(arrays, kept, reward, success, material.labels.known), written)
        for part in folder.iterdir():
            part.unlink()
    folder.rmdir()
    return Relabelled(describe(out), written)


def reward_of(path: Path) -> dict[str, Any] | None:
    """What a file says of its reward; None for one that was not relabelled."""
    with layout.open_hdf5(path) as file:
        stored = file["data"].attrs.get(layout.REWARD) if "data" in file else None
    return None if stored is None else json.loads(stored)


# --------------------------------------------------------------------------------------------------------- the request


def _check_fresh(path: Path, file: h5py.File) -> None:
    if "data" in file and layout.REWARD in file["data"].attrs:
        made = json.loads(file["data"].attrs[layout.REWARD])
        raise UsageError(
            f"{path} holds the rewards of '{made['request']['config']['name']}' already: relabel the file it was made "
            f"of, {made['request']['file']['name']}."
        )


def _request(path: Path, config: RewardConfig, annotations: tuple[Path, ...], saved: Networks | None) -> dict[str, Any]:
    """Everything that decides the copy, JSON-able."""
    request: dict[str, Any] = {
        "config": config.model_dump(mode="json", exclude={"description"}),
        "file": {"name": path.name, "sha256": file_sha256(path)},
    }
    if annotations:
        request["annotations"] = [{"name": p.name, "sha256": file_sha256(p)} for p in annotations]
    if saved is not None:
        request["model"] = identity_of(saved)
    return request


def _existing(out: Path, request: dict[str, Any], save_model: Path | None) -> Relabelled:
    made = reward_of(out)
    if made is None or made["request"] != request:
        raise UsageError(f"{out} exists and holds other data; choose another --out or delete it.")
    if save_model is not None and not (save_model / MODEL).exists():
        raise UsageError(f"{out} is complete, and its model was not saved: delete it, and it is made again with one.")
    return Relabelled(describe(out), made, already_complete=True)


def _material(
    source: Source,
    arrays: EpisodeArrays,
    path: Path,
    annotations: tuple[Path, ...],
    parts: Parts,
    networks: Networks,
    workers: int | None,
    progress: bool,
) -> Material:
    config = source.config
    if networks.saved is not None:
        labels = replace(unlabelled(arrays, config.seed), held_out=unseen(networks, arrays))
    elif annotations:
        labels = labels_of_files(annotations, arrays, config, source.needs)
    else:
        labels = draw_labels(arrays, config, source.needs)
    gamma = GAMMA_ELSEWHERE if arrays.task is None else evaluation_gamma(arrays.task.control_hz)
    return Material(arrays, labels, gamma, path, parts, networks, workers, progress)


def _saved(material: Material, source: Source) -> SavedModel:
    arrays, seen = material.arrays, ~material.labels.held_out
    keys = getattr(source.params, "low_dim", None) or list(arrays.spec)
    return SavedModel(
        config=source.config,
        spec={key: arrays.spec[key] for key in keys},
        action_dim=arrays.action_dim,
        file=arrays.sha256,
        episodes=[name for name, chosen in zip(arrays.names, seen, strict=True) if chosen],
        numbers=material.networks.numbers,
    )


def _lasting(judged: Judgement, material: Material) -> Judgement:
    """A judgement whose score and rewards are final: those of states count for ever at the end."""
    score = judged.score if judged.score is not None else episode_means(material.arrays, judged.reward)
    if not judged.lasting:
        return replace(judged, score=score)
    return replace(judged, score=score, reward=lasting(material.arrays, judged.reward, material.gamma))


def _kept(source: Source, material: Material) -> np.ndarray:
    """(E,) bool: the episodes of the copy."""
    labels = material.labels
    if source.needs == "nothing" or source.generalises or source.config.rest != "drop":
        return np.ones(len(material.arrays), bool)
    if not labels.known.any():
        raise UsageError(f"Reward {source.config.name}: every label is missing, and `rest: drop` keeps no episode.")
    return labels.known


def called_successes(arrays: EpisodeArrays, judged: Judgement, best: float) -> np.ndarray:
    """(E,) bool: as the source says, else the best share of the episodes by its score, at least one."""
    if judged.success is not None:
        return judged.success
    count = max(1, round(best * len(arrays)))
    chosen = np.zeros(len(arrays), bool)
    chosen[np.argsort(-judged.score, kind="stable")[:count]] = True
    return chosen


def _provenance(request: dict[str, Any], material: Material, judged: Judgement, kept: np.ndarray) -> dict[str, Any]:
    arrays, labels = material.arrays, material.labels
    scale = scale_of(arrays, judged.reward, kept, material.gamma)
    scaled = scale.apply(arrays, judged.reward)
    returns = returns_to_go(replace(arrays, rewards=scaled), material.gamma)
    return {
        "request": request,
        "annotation": labels.account(),
        "scale": scale.to_json(),
        "labelled": int(labels.known.sum()),
        "kept": int(kept.sum()),
        "quality": quality(arrays, judged, returns, labels.held_out & kept),
        "versions": layout.versions(),
    }
