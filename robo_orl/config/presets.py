"""The files in policies/, tasks/ and launch/, and how a name becomes a configuration.

A name is that of a file (`qc`), a path (`mine.yaml`), or one of the two with variants joined to it (`qc+separate`,
`mine.yaml+separate`): each variant is a file in policies/variants/ or tasks/variants/ whose keys are laid on the base.
A composed policy or task is called by its parts joined with an underscore, in records and in names of files:
`qc+separate` is `qc_separate`. Where no file has such a name it is read as the composed one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config.policies import PolicyConfig
from robo_orl.config.reading import deep_merge, parse, read_yaml
from robo_orl.config.tasks import TaskConfig
from robo_orl.config.variants import Variant, check_disjoint, read_variant, without

PRESETS_VARIABLE = "ROBO_ORL_PRESETS"  # set by --presets, inherited by the processes that a command starts
JOIN = "+"
NOUNS = {
    "policies": "policy",
    "policies/variants": "policy variant",
    "policies/online": "online method",
    "policies/online/variants": "online variant",
    "tasks": "task",
    "tasks/variants": "task variant",
    "tasks/suites": "suite",
    "tasks/tuned": "tuned file",
    "tasks/rewards": "reward",
    "launch": "launch file",
}
LISTED = {
    "policies": "robo-orl list policies",
    "policies/variants": "robo-orl list variants",
    "policies/online": "robo-orl list online",
    "policies/online/variants": "robo-orl list variants",
    "tasks": "robo-orl list tasks",
    "tasks/variants": "robo-orl list variants",
    "tasks/suites": "robo-orl list suites",
    "tasks/rewards": "robo-orl list rewards",
}


@dataclass(frozen=True, slots=True)
class Name:
    """A name taken apart. path: the base's file."""

    base: str
    path: Path
    variants: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return JOIN.join([self.base, *self.variants])


# ------------------------------------------------------------------------------------------------------------- finding


def preset_folders(kind: str) -> list[Path]:
    """The folders that hold presets of `kind`, a key of NOUNS or a folder beside them; the user's own come first."""
    package = Path(__file__).parents[1]
    roots = [Path(os.environ[PRESETS_VARIABLE])] if os.environ.get(PRESETS_VARIABLE) else []
    roots += [package / "presets_data", package.parent]  # an installed wheel, a source checkout
    return [root / kind for root in roots if (root / kind).is_dir()]


def available(kind: str) -> dict[str, Path]:
    """Name -> file of every preset of `kind`."""
    files: dict[str, Path] = {}
    for folder in preset_folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            files.setdefault(path.stem, path)
    return files


def has_variants(kind: str) -> bool:
    """True where presets of `kind` can be composed with variants."""
    return f"{kind}/variants" in NOUNS


def take_apart(kind: str, name: str, beside: Path | None = None) -> Name:
    """The base and the variants that `name` means. beside: a folder whose files are bases too.

    Raises:
        UsageError: there is no such base or variant.
    """
    bases = available(kind) | ({path.stem: path for path in beside.glob("*.yaml")} if beside else {})
    if _is_path(name):
        return Name(name, Path(name))
    if name in bases:
        return Name(name, bases[name])
    known = available(f"{kind}/variants") if has_variants(kind) else {}
    base, *variants = _split(name) if known else [name]
    if base not in bases and not _is_path(base):
        read = _read_underscores(name, bases, known) if not variants else None
        if read is None:
            suggested = [*bases, *(f"{b}{JOIN}{v}" for b in bases for v in known)]
            raise unknown(NOUNS[kind], name, bases, LISTED.get(kind, ""), suggested=suggested)
        base, variants = read
    for variant in variants:
        if variant not in known:
            raise unknown(NOUNS[f"{kind}/variants"], variant, known, LISTED[f"{kind}/variants"])
    return Name(base, bases.get(base, Path(base)), tuple(variants))


def written_name(kind: str, stored: str) -> str:
    """The name to type for a stored one: `qc_separate` is `qc+separate`; what nothing here is called stays."""
    try:
        return str(take_apart(kind, stored))
    except UsageError:
        return stored


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _split(name: str) -> list[str]:
    """The parts of a composed name; a base given by path may have the joining sign in its folders."""
    for ending in (".yaml", ".yml"):
        path, stop, variants = name.rpartition(ending + JOIN)
        if stop:
            return [path + ending, *variants.split(JOIN)]
    return name.split(JOIN)


def _read_underscores(name: str, bases: Iterable[str], variants: Iterable[str]) -> tuple[str, list[str]] | None:
    """Base and variants of a name whose parts are joined by underscores; the longest base that fits."""
    for base in sorted(bases, key=len, reverse=True):
        if name.startswith(f"{base}_") and (parts := _variants_in(name.removeprefix(f"{base}_"), variants)):
            return base, parts
    return None


def _variants_in(text: str, variants: Iterable[str]) -> list[str] | None:
    if text in variants:
        return [text]
    for variant in sorted(variants, key=len, reverse=True):
        if text.startswith(f"{variant}_") and (others := _variants_in(text.removeprefix(f"{variant}_"), variants)):
            return [variant, *others]
    return None


def stored_name(name: str) -> str:
    """The name of a composed preset in records and files: its parts joined with an underscore, a path by its file."""
    base, *variants = [name] if _is_path(name) else _split(name)
    return "_".join([Path(base).stem if _is_path(base) else base, *variants])


# ----------------------------------------------------------------------------------------------------------- composing


def preset_values(kind: str, name: str) -> dict[str, Any]:
    """The values of a preset given by name or by path, `extends` resolved and variants laid on it."""
    return _composed(kind, take_apart(kind, name), seen=())


def load_variant(kind: str, name: str) -> Variant:
    """A variant of `kind` ("policies" or "tasks") by the name of its file."""
    return read_variant(name, available(f"{kind}/variants")[name])


def _composed(kind: str, name: Name, seen: tuple[Path, ...]) -> dict[str, Any]:
    values = _resolve(kind, name.path, seen)
    if not name.variants:
        return values
    variants = [load_variant(kind, variant).of(values) for variant in name.variants]
    check_disjoint(f"{NOUNS[kind]} '{name}'", variants)
    for variant in variants:
        values = deep_merge(values, variant.settings)
    for key in (key for variant in variants for key in variant.removes):
        values = without(values, key.split("."))
    return values | {"name": "_".join([values["name"], *name.variants])}


def _resolve(kind: str, path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise UsageError(f"{path} extends itself by way of {' -> '.join(p.stem for p in seen)}.")
    values = {"name": path.stem} | read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    try:
        name = take_apart(kind, str(parent), beside=path.parent)
    except UsageError as error:
        raise UsageError(f"{path} extends '{parent}': {error}") from None
    return deep_merge(_composed(kind, name, (*seen, path)), values)


# ------------------------------------------------------------------------------------------------------------- loading


def load_policy(name: str) -> PolicyConfig:
    """A policy by its name (`qc`, `qc+separate`) or by path."""
    return parse(PolicyConfig, preset_values("policies", name), f"policy '{name}'")


def load_task(name: str) -> TaskConfig:
    """A task by its name (`chain2`, `chain2+40hz`) or by path."""
    return parse(TaskConfig, preset_values("tasks", name), f"task '{name}'")
