"""Kinds of tampering: name -> a function that changes the texts of a container in memory so that it contradicts itself.

A forger is as careful as the kind allows: unless hashes or scores are what is tampered with, `mended` takes the hash of
changed rows again and computes the scores from them. Cells: 0 is bc seed 0, 1 is bc seed 1, 2 is qc seed 0.
"""

import copy
import gzip
import hashlib
import json

from cell_examples import example_key

from robo_orl.config.presets import load_task
from robo_orl.results.container import COSTS, EPISODES, RECORDS, SUITE
from robo_orl.results.record import EpisodeRow
from robo_orl.results.summary import summarise


class Forgery:
    """The content of a container as JSON values that may be changed."""

    def __init__(self, texts):
        self.suite = json.loads(texts.suite)
        self.records = [copy.deepcopy(line.value) for line in texts.records]
        self.rows = {key: [json.loads(line) for line in text.splitlines()] for key, text in texts.episodes.items()}
        self.costs = [copy.deepcopy(line.value) for line in texts.costs]
        self.records.sort(key=lambda record: ("qc" in record["policy"]["name"], record["seed"]))

    def rows_of(self, cell):
        return self.rows[self.records[cell]["cell"]]

    def mend(self, cell):
        """Make hash and scores of a record those of its rows."""
        record = self.records[cell]
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in self.rows_of(cell))
        record["evaluation"]["episodes_sha256"] = hashlib.sha256(text.encode()).hexdigest()
        scores = summarise([EpisodeRow(**row) for row in self.rows_of(cell)], record["task"]["stages"])
        record["evaluation"] |= json.loads(json.dumps(scores, default=lambda value: value.model_dump()))

    def write(self, folder):
        """Write the container, values that no writer would take included."""
        rows = [{"cell": key} | row for key, own in self.rows.items() for row in own]
        (folder / SUITE).write_text(json.dumps(self.suite))
        for name, values in ((RECORDS, self.records), (COSTS, self.costs), (EPISODES, rows)):
            text = "".join(json.dumps(value, separators=(",", ":")) + "\n" for value in values).encode()
            (folder / name).write_bytes(gzip.compress(text, 1) if name == EPISODES else text)


def stated(path, value, cell=0):
    """Set a field of a record, named by dots; a function computes it from what is there."""

    def change(forgery):
        place = forgery.records[cell]
        *outer, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in outer:
            place = place[part]
        place[last] = value(place[last]) if callable(value) else value

    return change


def ranked(cell=3, **wrong):
    """State a ranking in a record, consistent but for `wrong`; cell 3 is qc with the best of 4, seed 0."""
    order = {"states": 30, "tied": 10, "kendall": 0.3, "low": 0.1, "high": 0.5, "spearman": 0.4}
    none = {"states": 10, "tied": 10, "kendall": None, "low": None, "high": None, "spearman": None}
    ranking = {
        "episodes": 5, "starts": "test", "seed": 0, "every": 8, "samples": 4, "look_ahead": 400, "gamma": 0.99,
        "overall": order | {"states": 40, "tied": 20}, "simulated": 9000,
        "stages": [order | {"name": "cube_1_placed"}, none | {"name": "cube_2_placed"}],
    }  # fmt: skip
    return stated("ranking", ranking | wrong, cell=cell)


def planned(change):
    return lambda forgery: change(forgery.suite)


def cost(change):
    return lambda forgery: change(forgery.costs[0])


def cost_row(row, **values):
    return lambda forgery: forgery.costs[0]["rows"][row].update(values)


def mended(change, cell=0):
    """Change the rows of a cell, then take its hash and scores again."""

    def both(forgery):
        change(forgery.rows_of(cell))
        forgery.mend(cell)

    return both


def row(index, **values):
    return mended(lambda rows: rows[index].update(values))


def every_row(**values):
    return mended(lambda rows: [row.update(values) for row in rows])


def drop_row(rows):
    rows.pop()


def copy_cell(forgery):
    """The rows of seed 1 under the name of seed 0, with hash and scores mended."""
    forgery.rows[forgery.records[0]["cell"]] = copy.deepcopy(forgery.rows_of(1))
    forgery.mend(0)


def copy_episodes(forgery):
    """As copy_cell, and the request and the times are rewritten too: only the fingerprints tell."""
    request = forgery.rows_of(0)[0]["request"]
    copy_cell(forgery)
    for changed in forgery.rows_of(0):
        changed |= {"request": request, "wall_s": changed["wall_s"] + 0.01}
    forgery.mend(0)


def copy_one_episode(forgery):
    own, other = forgery.rows_of(0)[3], forgery.rows_of(2)[3]
    own["fingerprint"] = other["fingerprint"]
    forgery.mend(0)


def take_cell(forgery, key):
    del forgery.rows[key]
    forgery.records = [record for record in forgery.records if record["cell"] != key]


def cut_unfavourable_cell(forgery):
    """Record and rows of a cell are cut, the list of cells stays."""
    take_cell(forgery, forgery.records[0]["cell"])


def strike_cell(forgery):
    """Record, rows and the entry in the list are cut; the configuration still asks for it."""
    key = forgery.records[0]["cell"]
    take_cell(forgery, key)
    forgery.suite["cells"] = [cell for cell in forgery.suite["cells"] if cell["cell"] != key]


def readdress(forgery):
    """A record of another regime under the address of this one, its list entry changed with it."""
    forgery.records[0]["regime"] = "ph"
    forgery.suite["cells"][0]["regime"] = "ph"


def swap_rows(forgery):
    keys = [forgery.records[i]["cell"] for i in (0, 1)]
    forgery.rows[keys[0]], forgery.rows[keys[1]] = forgery.rows[keys[1]], forgery.rows[keys[0]]
    for cell in (0, 1):
        forgery.mend(cell)


def win(rows):
    """A failed episode becomes a success whose length stays that of a failure."""
    rows[1] |= {"success_once": True, "success_at_end": True, "stages": [True, True]}


def win_with_steps(rows):
    """As win, with stages and return; only the last decision of a failure is not its success."""
    win(rows)
    rows[1] |= {"stage_steps": [30, 60], "discounted_return": 0.5 * 0.99**29 + 0.5 * 0.99**59}


RECORD_KINDS = {
    "another cell address": stated("cell", "ab" * 32),
    "the address of another seed": lambda f: (f.rows.update({example_key(7): f.rows.pop(f.records[0]["cell"])}),
                                              stated("cell", example_key(7))(f)),
    "another run address": stated("train.run", "ab" * 32),
    "another training seed": stated("seed", 5),
    "another regime": stated("regime", "ph"),
    "another regime in record and list": readdress,
    "another policy name": stated("policy.name", "qc"),
    "another name in the configuration": stated("policy.config.name", "qc"),
    "a changed learning rate": stated("policy.config.optim.lr", 0.5),
    "a changed size in the configuration": stated("policy.config.backbone.size", "l"),
    "a changed policy digest": stated("policy.digest", "cd" * 32),
    "another kind": stated("kind", "reference"),
    "a configuration that is none": stated("policy.config.optim", {"stepz": 1}),
    "another size": stated("size", "xl"),
    "more steps than configured": stated("train.steps", 10_000),
    "a larger batch than configured": stated("train.batch_size", 128),
    "a speed that the step time does not give": stated("train.steps_per_s", 99.0),
    "samples that the speed does not give": stated("train.samples_per_s", 1e6),
    "parameters that do not add up": stated("train.parameters.total", 5),
    "a critic that is not configured": stated("train.parameters", {"backbone": 3, "action_head": 1, "critic": 2,
                                                                   "target": 0, "total": 6}),
    "a target that is not configured": stated("train.parameters", {"backbone": 3, "action_head": 1, "critic": 0,
                                                                   "target": 2, "total": 6}),
    "no parameters of the critic": stated("train.parameters", {"backbone": 3, "action_head": 1, "critic": 0,
                                                               "target": 2, "total": 6}, cell=2),
    "negative parameters": stated("train.parameters", {"backbone": 5, "action_head": -1, "critic": 0, "target": 0,
                                                       "total": 4}),
    "another task digest": stated("task.digest", "ef" * 32),
    "the digest of another task": stated("task.digest", load_task("chain1").digest()),
    "another task name": stated("task.name", "chain4"),
    "another task version": stated("task.version", 2),
    "a shorter horizon": stated("task.horizon", 399),
    "a longer horizon": stated("task.horizon", 500),
    "another control rate": stated("task.control_hz", 40),
    "dead time that the task has not": stated("task.padding", 1.0),
    "another name of a stage": stated("task.stages.0", "cube_9_placed"),
    "another data seed": stated("data.seed", 3),
    "fewer data episodes": stated("data", lambda d: d | {"episodes": 100, "success": {"k": 90, "n": 100}}),
    "successes of other episodes": stated("data.success.n", 150),
    "more frames than fit the horizon": stated("data.frames", 10**6),
    "fewer frames than episodes": stated("data.frames", 7),
    "frames that differ for equal data": stated("data.frames", 9001),
    "successes that differ for equal data": stated("data.success.k", 91),
    "other data of the same training": stated("data.sha256", "ab" * 32, cell=2),
    "another memory of the same training": stated("train.peak_memory_bytes", 5, cell=2),
    "a data hash that is none": stated("data.sha256", "s"),
    "value errors without a critic": stated("value_errors", {"n": 5, "mean_absolute": 1, "bias": 0, "correlation": 0,
                                                             "gamma": 0.99}),
    "a bias beyond the mean error": stated("value_errors.bias", -0.3, cell=2),
    "value errors of another discount": stated("value_errors.gamma", 0.9, cell=2),
    "value errors of more frames than there are": stated("value_errors.n", 10_000, cell=2),
    "a ranking without a critic": ranked(cell=0),
    "a ranking of other samples": ranked(samples=5),
    "a ranking of other stages": ranked(stages=[]),
    "a ranking of another discount": ranked(gamma=0.9),
    "a ranking that simulated too little": ranked(simulated=100),
    "a ranking without an order": ranked(overall={"states": 40, "tied": 20}),
    "a ranking outside its interval": ranked(
        overall={"states": 40, "tied": 20, "kendall": 0.7, "low": 0.1, "high": 0.5, "spearman": 0.4}
    ),
    "decisions of a search that nobody made": stated("evaluation.look_ahead_decisions", 900),
    "a search in a row": row(0, look_ahead_decisions=900),
    "a value error that is no number": stated("value_errors.bias", float("nan"), cell=2),
    "another discount of returns": stated("evaluation.gamma", 0.5),
    "a rewritten success count": stated("evaluation.success_once.k", 20),
    "a rewritten success rate's interval": stated("evaluation.success_once.low", 0.3),
    "a rewritten success at the end": stated("evaluation.success_at_end.k", 9),
    "a rewritten stage count": stated("evaluation.stages.0.reached.k", 20),
    "a rewritten conditional count": stated("evaluation.stages.1.conditional.n", 14),
    "a rewritten share of stages": stated("evaluation.stages_reached", 0.9),
    "a rewritten median length": stated("evaluation.success_length_median", 12.0),
    "a rewritten mean length": stated("evaluation.success_length_mean", 12.0),
    "a rewritten return": stated("evaluation.discounted_return", 0.9),
    "a return that is infinite": stated("evaluation.discounted_return", float("inf")),
    "more episodes than rows": stated("evaluation.episodes", 200),
    "restarts that no row has": stated("evaluation.restarts", 3),
    "another evaluation seed": stated("evaluation.seed", 1),
    "another start bank": stated("evaluation.starts_sha256", "ab" * 32),
    "another loop": stated("evaluation.loop", "fast"),
    "a loop that does not exist": stated("evaluation.loop", "quick"),
    "another checkpoint": stated("evaluation.checkpoint_sha256", "ab" * 32),
    "a checkpoint that is no hash": stated("evaluation.checkpoint_sha256", "latest"),
    "an episodes hash of other rows": stated("evaluation.episodes_sha256", "ab" * 32),
    "an episodes file elsewhere": stated("evaluation.episodes_file", "../../other/episodes.jsonl"),
    "instructions that the policy does not read": stated("evaluation.sentences", ["lift it"]),
    "pictures that the policy does not see": stated("evaluation.render", {"look": "plain", "reference_sha256": "a"}),
    "another schema": stated("schema_version", 2),
    "an unknown key": lambda f: f.records[0].update(note="best"),
    "a missing key": lambda f: f.records[0].pop("data"),
    "a date that is none": stated("created", "yesterday"),
    "two versions of this software": stated("versions.robo_orl", "9"),
    "a tuning that the suite has not": stated("tuning", {"trials": 4, "episodes": 50, "task": "chain2",
                                                         "regime": "mg"}),
    "another version of the suite": stated("suite.version", 7),
    "tasks together without the judged one": stated("together", [{"task": {"name": "x", "digest": "ab" * 32,
        "version": 1, "horizon": 9, "control_hz": 20, "padding": 0, "stages": ["a"]}, "weight": 1}]),
    "a path of this machine": stated("hardware.cpu", "measured in /home/someone/runs/best"),
    "an address of a person": stated("train.peak_memory_kind", "ask someone@example.org"),
    "a path in the suite": planned(lambda suite: suite.update(description="see /mnt/lab/private/notes.txt")),
    "a path in the reason of a failure": planned(
        lambda suite: suite["cells"][0].update(reason="No file /home/someone/x/y.hdf5")),
}  # fmt: skip

ROW_KINDS = {
    "a failure rewritten as success": mended(win),
    "a failure rewritten with its stages": mended(win_with_steps),
    "a success before its last stage": row(0, stage_steps=[20, 39]),
    "stages in another order": row(0, stage_steps=[45, 40]),
    "a stage after the end": row(2, stage_steps=[401, None]),
    "a stage before the first decision": row(2, stage_steps=[0, None], discounted_return=0.5 * 0.99**-1),
    "a later stage without the one before": row(2, stages=[False, True], stage_steps=[None, 30]),
    "stages that their steps deny": row(2, stages=[False, False]),
    "a success without its last stage": row(0, stages=[True, False], stage_steps=[20, None]),
    "a success that is none at the end": row(0, success_at_end=False),
    "an end without success": row(0, success_once=False),
    "a success that is shorter than its stages": row(0, length=30),
    "a success that is longer than its stages": row(0, length=60),
    "a failure shorter than the horizon": row(1, length=200),
    "an episode beyond the horizon": row(1, length=401),
    "an episode without a decision": row(1, length=0),
    "a return above what the task pays": row(0, discounted_return=2.0),
    "a return of a failure": row(1, discounted_return=0.3),
    "a return that is rounded up": row(0, discounted_return=0.75),
    "a negative return": row(1, discounted_return=-0.1),
    "a return under another discount": row(0, discounted_return=0.5 * 0.999**19 + 0.5 * 0.999**39),
    "all successes by the rule of another reward": mended(lambda rows: [
        r.update(discounted_return=0.99 ** (r["length"] - 1) if r["success_once"] else 0.0) for r in rows]),
    "another seed of an episode": row(0, seed=4),
    "another seed of all episodes": every_row(seed=4),
    "another start of an episode": row(0, start=99),
    "starts in another order": mended(lambda rows: (rows[0].update(start=1), rows[1].update(start=0))),
    "a start used twice": row(0, start=1),
    "another bank of an episode": row(0, starts_sha256="ab" * 32),
    "another loop of an episode": row(0, loop="fast"),
    "another horizon of an episode": row(0, horizon=300),
    "another horizon of all episodes": every_row(horizon=300),
    "an episode numbered twice": row(0, episode=1),
    "an episode that is left out": mended(lambda rows: rows.pop(4)),
    "the last episodes left out": mended(drop_row),
    "an episode added": mended(lambda rows: rows.append(rows[0] | {"episode": 20, "start": 20})),
    "an episode copied under another number": mended(lambda rows: rows.__setitem__(
        5, rows[3] | {"episode": 5, "start": 5})),
    "an episode of another evaluation": row(0, request="ab" * 32),
    "all episodes of another evaluation": every_row(request="ab" * 32),
    "an episode without a fingerprint": row(0, fingerprint=""),
    "a negative time": lambda f: f.rows_of(0)[0].update(wall_s=-1.0),
    "a changed row under the old hash": lambda f: f.rows_of(0)[0].update(wall_s=0.1),
    "a row with a key more": lambda f: f.rows_of(0)[0].update(note="won"),
    "a row with one stage": lambda f: f.rows_of(0)[0].update(stages=[True]),
    "restarts in the rows alone": lambda f: f.rows_of(0)[0].update(restarts=2),
}  # fmt: skip

FOLDER_KINDS = {
    "a cell cut with its rows": cut_unfavourable_cell,
    "a cell struck from record, rows and list": strike_cell,
    "the list of cells emptied": planned(lambda suite: suite.update(cells=[])),
    "a list entry with another key": planned(lambda suite: suite["cells"][0].update(cell="ab" * 32)),
    "a list entry with another name": planned(lambda suite: suite["cells"][0].update(policy="best")),
    "a list entry with another size": planned(lambda suite: suite["cells"][0].update(size="l")),
    "a list entry twice": planned(lambda suite: suite["cells"].append(suite["cells"][0])),
    "a list entry that no group asks for": planned(
        lambda suite: suite["cells"].append(suite["cells"][0] | {"cell": "ab" * 32, "seed": 9, "state": "missing"})),
    "a policy struck from the configuration": planned(lambda s: s["config"]["groups"][0]["policies"].remove("bc")),
    "a seed added to the configuration": planned(lambda s: s["config"]["groups"][0]["seeds"].append(2)),
    "fewer episodes in the configuration": planned(lambda s: s["config"]["evaluation"].update(episodes=10)),
    "another data seed in the configuration": planned(lambda s: s["config"]["data"].update(seed=4)),
    "another loop in the configuration": planned(lambda s: s["config"]["evaluation"].update(loop="fast")),
    "the tuning bank in the configuration": planned(lambda s: s["config"]["evaluation"].update(starts="tuning")),
    "another version in the configuration": planned(lambda s: s["config"].update(version=4)),
    "another name of the suite": planned(lambda s: s["suite"].update(name="standard")),
    "a search that no record knows": planned(lambda s: s["config"].update(tuned="methods")),
    "a configuration that is emptied": planned(lambda s: s.update(config={})),
    "a configuration with an unknown key": planned(lambda s: s["config"].update(tunde=1)),
    "rows of two cells exchanged": swap_rows,
    "rows of another seed under this name": copy_cell,
    "episodes of another seed, requests rewritten": copy_episodes,
    "one episode of another policy": copy_one_episode,
    "rows that have no record": lambda f: f.records.pop(0),
    "a record twice": lambda f: f.records.append(f.records[0]),
    "a record without rows": lambda f: f.rows.pop(f.records[0]["cell"]),
}  # fmt: skip

COST_KINDS = {
    "a ratio of memory that is not the values'": cost_row(1, memory_relative=1.0),
    "a ratio of FLOPs that is not the values'": cost_row(1, flops_relative=1.0),
    "a ratio of the base that is not 1": cost_row(0, step_relative=0.5),
    "a memory that its ratio denies": cost_row(1, peak_memory_bytes=1000),
    "memory parts that do not add up": cost_row(1, memory_parts={"trained": 1}),
    "phases that are longer than the step": cost_row(1, phases_s={"forward": 9.0}),
    "a step outside its quartiles": cost_row(1, step_s=0.001),
    "a ratio outside its quartiles": cost_row(1, step_relative=1.01),
    "parameters that do not sum to the total": cost_row(1, parameters={"backbone": 3, "critic": 2, "total": 4}),
    "another total of parameters": cost_row(1, parameters_total=99),
    "another backbone than the base": cost_row(1, parameters={"backbone": 4, "critic": 2, "total": 6},
                                               parameters_total=6),
    "a topology without a critic": cost_row(0, topology="shared"),
    "a step time that is infinite": cost_row(1, step_s=float("inf")),
    "a step time that is negative": cost_row(1, step_s=-1.0),
    "a step beside an error of memory": cost_row(1, oom="out of memory"),
    "a row without a step": cost_row(1, step_s=None, step_s_quartiles=None, step_relative=None,
                                     step_relative_quartiles=None, phases_s=None),
    "fewer timed steps": cost_row(1, steps=7),
    "a prediction whose parts do not add up": lambda f: f.costs[0]["rows"][1]["predicted"]["parts"].update(inputs=99),
    "a predicted peak of no phase": lambda f: f.costs[0]["rows"][1]["predicted"].update(peak_phase="forward"),
    "a prediction that holds more than its peak": lambda f: f.costs[0]["rows"][1]["predicted"].update(held_bytes=999),
    "a policy measured twice": cost(lambda c: c["rows"].append(c["rows"][0])),
    "a policy that the suite has not": cost_row(1, policy="best"),
    "a size that the suite has not": cost_row(1, size="xl"),
    "another base": cost(lambda c: c.update(base="qc")),
    "another task of the costs": cost(lambda c: c["task"].update(horizon=100)),
    "a ZeRO stage without a launcher": cost(lambda c: c.update(zero=2)),
    "two processes without a launcher": cost(lambda c: c.update(world=2)),
    "another version of the costs' suite": cost(lambda c: c["suite"].update(version=9)),
    "another version of the software in the costs": cost(lambda c: c["versions"].update(robo_orl="9")),
    "a key without its address": lambda f: (f.costs[0].update(key="chain2-tiny-best"),
                                            f.suite.update(costs=["chain2-tiny-best"])),
    "a key of another size": lambda f: (f.costs[0].update(key="chain2-xl-0123456789"),
                                        f.suite.update(costs=["chain2-xl-0123456789"])),
    "a host in the costs": cost(lambda c: c["hardware"].update(cpu="/Users/someone/cpu")),
    "the costs struck from the suite": planned(lambda s: s["config"].update(cost=None)),
    "times of another cell, to the last digit": lambda f: f.costs.append(
        copy.deepcopy(f.costs[0]) | {"key": "chain2-tiny-abcdef0123"}),
    "a calibration whose error is smaller": cost(lambda c: c["calibration"]["rows"][0].update(error=0.0)),
    "a largest model that does not fit": lambda f: f.costs[1]["largest"][0].update(peak_bytes=99),
    "a largest model with more backbone than model": lambda f: f.costs[1]["largest"][0].update(parameters=2),
    "another card of the largest model": lambda f: f.costs[1]["largest"][0].update(card="better"),
    "a largest model of another policy": lambda f: f.costs[1]["largest"][0].update(policy="qc"),
}  # fmt: skip

KINDS = RECORD_KINDS | ROW_KINDS | FOLDER_KINDS | COST_KINDS
assert len(KINDS) == len(RECORD_KINDS) + len(ROW_KINDS) + len(FOLDER_KINDS) + len(COST_KINDS)
