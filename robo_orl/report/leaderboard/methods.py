"""What the page of a policy shows, from the rankings that hold it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from robo_orl.base.text import printable
from robo_orl.config import PolicyConfig
from robo_orl.report.compare import Comparison
from robo_orl.report.costs import cost_groups
from robo_orl.report.leaderboard.rankings import Ranked, Ranking, Standing
from robo_orl.report.leaderboard.words import facts, family, layout
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.endpoints import Endpoint

Placed = tuple[Ranked, Ranking, Standing]
NAMED = 5  # settings that tell a variant from its base


@dataclass(frozen=True)
class ComparedPlace:
    """The comparisons of one policy on one board. rows: opponent -> endpoint -> comparison."""

    place: str
    endpoints: list[Endpoint]
    rows: dict[str, dict[str, Comparison]]

    @property
    def titles(self) -> list[str]:
        """The endpoints in words."""
        return [endpoint.title for endpoint in self.endpoints]

    @property
    def undecided(self) -> list[str]:
        """The opponents from whom it cannot be told by any endpoint: a page names them, and has no numbers of them."""
        return [name for name, own in self.rows.items() if all(one.verdict == "undecided" for one in own.values())]


@dataclass(frozen=True)
class MethodPage:
    """One policy by its name, over all sizes and divisions. learns: records hold what its trainings did on the way.
    reference: it was trained by another library, in whose words its configuration is."""

    name: str
    page: str
    description: str
    facts: str
    family: str
    topology: str
    places: list[Placed]
    compared: list[ComparedPlace]
    costs: list[dict[str, Any]]
    parameters: dict[str, int]
    own: dict[str, Any]
    commands: list[str]
    made_with: str
    configurations: list[tuple[str, str]]
    videos: list[Path]
    learns: bool
    reference: bool


def slug(kind: str, name: str, taken: dict[str, str]) -> str:
    """A file name for a page: plain characters, distinct for distinct names. taken: file name -> name."""
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.")[:60] or "unnamed"
    candidate, count = f"{kind}-{plain}.html", 2
    while taken.setdefault(candidate, name) != name:
        candidate, count = f"{kind}-{plain}-{count}.html", count + 1
    return candidate


def method_pages(made: Sequence[Ranked], compared: Sequence[Sequence[Comparison]], costs: Sequence[CostRecord]):
    """A page for every name, in alphabetical order. compared: the comparisons of each division."""
    taken: dict[str, str] = {}
    by_name: dict[str, list[Placed]] = {}
    for division in made:
        for ranking in division.rankings:
            for standing in (*ranking.standings, *ranking.unranked):
                by_name.setdefault(standing.row.policy, []).append((division, ranking, standing))
    measured = _measured(costs)
    described = descriptions({name: own[0][2].records[0].policy.config for name, own in by_name.items()})
    return [
        _method(name, slug("policy", name, taken), by_name[name], _compared(name, made, compared),
                measured.get(name, []), described[name])
        for name in sorted(by_name)
    ]  # fmt: skip


def descriptions(configs: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """Name -> what the policy is. A variant carries its base's description: it is told apart by the settings in which
    it differs from the policy of the shortest name that has the same one."""
    same: dict[str, list[str]] = {}
    for name in sorted(configs, key=lambda name: (len(name), name)):
        same.setdefault(configs[name].get("description") or "", []).append(name)
    made = {}
    for text, (base, *variants) in same.items():
        made[base] = text
        for name in variants:
            settings = [f"{key} {value}" for key, value, _ in _differences(configs[base], configs[name])
                        if key != "name"]  # fmt: skip
            more = f" and {len(settings) - NAMED} more" if len(settings) > NAMED else ""
            made[name] = f"As {base}, but {', '.join(settings[:NAMED])}{more}." if settings and text else text
    return made


def _compared(name: str, made: Sequence[Ranked], compared: Sequence[Sequence[Comparison]]) -> list[ComparedPlace]:
    """The comparisons of a policy board by board, by the suite's first endpoint and by success."""
    places = []
    for division, rows in zip(made, compared, strict=True):
        first, *others = division.division.cells.endpoints
        endpoints = [first, *(e for e in others if e.name == "success")]
        own: dict[int, list[Comparison]] = {}
        for row in rows:
            if row.policy == name and row.endpoint in [e.name for e in endpoints]:
                own.setdefault(row.board, []).append(row)
        for here in own.values():
            by_opponent: dict[str, dict[str, Comparison]] = {}
            for row in here:
                by_opponent.setdefault(row.against, {})[row.endpoint] = row
            place = f"{here[0].task} · {here[0].regime} · {here[0].size} · {division.division.name}"
            places.append(ComparedPlace(place, endpoints, by_opponent))
    return places


def _measured(costs: Sequence[CostRecord]) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for group in cost_groups(costs):
        for row in group.compared():
            value = {"size": row.size, "step_relative": row.step_relative, "memory_relative": row.memory_relative,
                     "flops_relative": row.flops_relative, "base": group.base, "steps": row.steps,
                     "act_s": row.act_s, "act_relative": row.act_relative,
                     "machine": group.hardware}  # fmt: skip
            if value not in rows.setdefault(row.policy, []):
                rows[row.policy].append(value)
    return rows


def _method(
    name: str,
    page: str,
    places: list[Placed],
    compared: list[ComparedPlace],
    costs: list[dict[str, Any]],
    description: str,
) -> MethodPage:
    records = [record for _, _, standing in places for record in standing.records]
    config = records[0].policy.config
    seconds = [record.train.step_s_median for record in records]
    memory = [record.train.peak_memory_bytes for record in records if record.train.peak_memory_bytes]
    suites = dict.fromkeys(d.division.suite for d, _, _ in places)
    code = sorted({f"robo_orl {r.code.version}" + (f" ({r.code.commit[:9]})" if r.code.commit else "")
                   for r in records})  # fmt: skip
    return MethodPage(
        name=name,
        page=page,
        description=description,
        facts=facts(config),
        family=family(config),
        topology=layout(config),
        places=places,
        compared=compared,
        costs=costs,
        parameters=records[0].train.parameters,
        own={"step_s": median(seconds), "memory_bytes": median(memory) if memory else None},
        commands=[f"robo-orl bench --suite {_word(suite)} --out runs/{_word(suite)}" for suite in suites],
        made_with=", ".join(code),
        configurations=configurations(places),
        videos=videos_of(name, [(d.division.folders, k.board.task) for d, k, _ in places]),
        learns=any(point.success is not None for r in records if r.curve for point in r.curve.points),
        reference=records[0].kind == "reference",
    )


def videos_of(name: str, places: Iterable[tuple[Sequence[Path], str]]) -> list[Path]:
    """The files that `robo-orl eval --video FOLDER/videos` wrote of a policy, in the results folders that have some."""
    found = {}
    for folders, task in places:
        for folder in folders:
            for path in sorted((folder / "videos").glob("*.mp4")):
                if re.fullmatch(re.escape(f"{task}-{name}") + r"-episode_\d+\.mp4", path.name):
                    found.setdefault(path.name, path)
    return list(found.values())


def _word(name: str) -> str:
    """A name as one word of a shell; one that is none is quoted."""
    return shlex.quote(printable(name))


def configurations(places: Sequence[Placed]) -> list[tuple[str, str]]:
    """The distinct configurations, each with the divisions and sizes that have it: the first as a policy file, of the
    others what differs from it."""
    where: dict[str, list[str]] = {}
    configs: dict[str, dict[str, Any]] = {}
    for division, _, standing in places:
        config = standing.records[0].policy.config
        # Other words are no other policy, and neither are settings that an older version did not have yet.
        key = json.dumps({**_whole(config), "description": ""}, sort_keys=True)
        configs.setdefault(key, config)
        where.setdefault(key, []).append(f"{division.division.name}, {standing.size}")
    first, *others = configs.values()
    shown = {
        key: value for key, value in _whole(first, defaults=False).items() if key != "description"
    }  # which heads the page
    file = yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    texts = [file, *(_difference(first, other) for other in others)]
    return [(" · ".join(dict.fromkeys(own)), text) for own, text in zip(where.values(), texts, strict=True)]


def _difference(first: dict[str, Any], other: dict[str, Any]) -> str:
    """A line per setting that differs: its value here, and in the first."""
    lines = [f"{name}: {here} (first: {there})" for name, here, there in _differences(first, other)]
    only = len(dict(_settings(_whole(first))).keys() ^ dict(_settings(_whole(other))).keys())
    beside = [f"... and {only} settings that one of the two does not name"] if only else []
    return "\n".join([*lines, *beside])


def _differences(first: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(setting, its value in `other`, in `first`) of those that both have and that differ; its words are no setting."""
    a, b = dict(_settings(_whole(first))), dict(_settings(_whole(other)))
    return [(name, b[name], a[name]) for name in sorted((a.keys() & b.keys()) - {"description"}) if a[name] != b[name]]


def _whole(config: dict[str, Any], defaults: bool = True) -> dict[str, Any]:
    """A configuration with the settings that its version of the schema did not have yet; without those that have their
    default it is a policy file. As it is where it cannot be read today, and where it is another library's."""
    try:
        return PolicyConfig.model_validate(config).model_dump(mode="json", exclude_defaults=not defaults)
    except ValueError:
        return config


def _settings(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its whole name, with its value as JSON."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _settings(item, f"{name}.{key}" if name else str(key))
    else:
        yield name, json.dumps(value, ensure_ascii=False)
