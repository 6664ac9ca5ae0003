"""A policy that spells out a default of its objective has the digest of one that leaves it out."""

import json
from pathlib import Path

import pytest

from robo_orl.api import resolve_run
from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_json
from robo_orl.config import PolicyChoice, PolicyConfig
from robo_orl.data.statistics import Moments, Statistics
from robo_orl.engine.run_folder import Spec, check_resumable, write_run
from robo_orl.objectives import OBJECTIVES, normalised
from robo_orl.objectives.extraction import DDPGBC
from robo_orl.sweep.cells import policy_of

STATISTICS = Statistics(
    obs={}, action=Moments(mean=[0.0], std=[1.0]), action_low=[-1.0], action_high=[1.0], frames=1, data_sha256="0" * 64
)
SHIPPED = Path(__file__).parents[2] / "results"


def policy(name, **params):
    values = {"name": "own", "objective": {"name": name, "params": params}}
    return normalised(PolicyConfig.model_validate(values))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_default_spelled_out_is_the_same_policy(name):
    objective, plain = OBJECTIVES[name], policy(name)
    defaults = objective.Params().model_dump(mode="json")
    spelled = {key: value for key, value in defaults.items() if key not in objective.as_given}
    assert policy(name, **spelled).digest() == plain.digest() == normalised(plain).digest()
    assert objective.Params(**plain.objective.params) == objective.Params()


def test_another_value_is_another_policy_however_its_number_is_written():
    assert policy("td3_bc", alpha=3).digest() == policy("td3_bc", alpha=3.0).digest() != policy("td3_bc").digest()
    assert policy("iql", beta=3).objective.params == {"beta": 3.0}


def test_the_parameters_of_an_extraction_have_one_spelling_too():
    def with_extraction(**params):
        objective = {"name": "mc_awr", "extraction": {"kind": "ddpg_bc", "params": params}}
        return normalised(PolicyConfig.model_validate({"name": "own", "objective": objective}))

    default = DDPGBC.Params().alpha
    assert with_extraction(alpha=default).digest() == with_extraction().digest()
    assert with_extraction(alpha=2 * default).digest() != with_extraction().digest()


def test_every_shipped_record_holds_the_spelling_that_its_address_was_taken_of():
    stored = {
        json.dumps(record["policy"]["config"], sort_keys=True)
        for file in SHIPPED.glob("*/records.jsonl")
        for record in map(json.loads, file.read_text().splitlines())
        if record.get("kind", "policy") == "policy"
    }
    assert len(stored) > 50
    for text in stored:
        config = PolicyConfig.model_validate_json(text)
        assert normalised(config).digest() == config.digest(), text


def test_a_training_and_a_suite_take_the_one_spelling():
    spelled = ["policy.objective.params.expectile=0.9"]
    runs = [resolve_run("idql", "lift", "lift.hdf5", settings) for settings in ([], spelled)]
    assert runs[0].digest() == runs[1].digest()
    choices = [PolicyChoice(use="idql", set=changes) for changes in ({}, {"objective": {"params": {"expectile": 0.9}}})]
    plain, other = (policy_of(choice, size=None, where="suite s") for choice in choices)
    assert plain.digest() == other.digest() == runs[0].policy.digest()


def test_a_run_of_before_that_spells_out_a_default_goes_on(tmp_path):
    run = resolve_run("td3_bc", "lift", "lift.hdf5", ["policy.objective.params.alpha=2.5"])
    before = run.model_copy(update={"policy": PolicyConfig.model_validate(_without_alpha(run))})
    spec = Spec(obs={"object": 10}, action_dim=7, gamma=0.99, statistics=STATISTICS)
    write_run(tmp_path, before, spec)
    write_json(tmp_path / "train.json", {})
    check_resumable(tmp_path, run, spec)
    changed = resolve_run("td3_bc", "lift", "lift.hdf5", ["policy.objective.params.alpha=1.0"])
    with pytest.raises(UsageError, match="another policy.objective.params.alpha"):
        check_resumable(tmp_path, changed, spec)


def _without_alpha(run):
    values = run.policy.model_dump()
    values["objective"]["params"].pop("alpha")
    return values


@pytest.mark.parametrize("params", [{"no_such": 1}, {"expectile": 2}])
def test_parameters_that_do_not_fit_stay_for_the_sentence_that_refuses_them(params):
    config = policy("iql", **params)
    assert config.objective.params == params
    with pytest.raises(UsageError, match=next(iter(params))):
        OBJECTIVES["iql"](config)


def test_an_unknown_objective_stays_as_it_is():
    assert policy("no_such", a=1).objective.params == {"a": 1}
