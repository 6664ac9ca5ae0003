"""Order, cores and failures of jobs, with a runner that only writes down what it is told."""

from pathlib import Path

import pytest

from robo_orl.sweep.jobs import COSTS, DATA, EVALUATE, TRAIN, VALUE, Job, JobResult
from robo_orl.sweep.schedule import BLOCKED, DONE, FAILED, Schedule


class Notebook:
    """Ends every job at the second look, as `ends` says; keeps the order of starts and the cores given."""

    def __init__(self, ends=None):
        self.started, self.looks, self.stopped, self.most = [], {}, [], 0
        self.ends = ends or {}

    def start(self, job, cores):
        self.started.append((job.key, cores))
        self.looks[job.key] = 0
        self.most = max(self.most, len(self.looks))
        return job.key

    def result(self, handle):
        self.looks[handle] += 1
        if self.looks[handle] < 2:
            return None
        del self.looks[handle]
        return self.ends.get(handle, JobResult({"of": handle}))

    def stop(self, handles):
        self.stopped += handles


def job(kind, key, *needs):
    return Job(kind, key, ("echo",), needs, 1.0, 10, Path(key))


def run(jobs, cores=2, runner=None, finished=lambda job, result: None):
    runner = runner or Notebook()
    return Schedule(jobs, runner, cores, finished, watch=lambda states: None, poll_s=0).run(), runner


CHAIN = [job(DATA, "d"), job(TRAIN, "t1", "d"), job(EVALUATE, "e1", "t1"), job(TRAIN, "t2", "d"), job(TRAIN, "t3", "d"),
         job(EVALUATE, "e2", "t2"), job(EVALUATE, "e3", "t3")]  # fmt: skip


def test_jobs_start_after_what_they_need_and_results_come_early():
    states, runner = run(CHAIN)
    order = [key for key, _ in runner.started]
    # As soon as a training is done its evaluation goes before the trainings that still wait.
    assert order == ["d", "t1", "t2", "e1", "e2", "t3", "e3"]
    assert all(state.state == DONE for state in states.values()) and states["t1"].result == {"of": "t1"}


def test_no_more_jobs_than_cores():
    for cores in (1, 2, 3):
        _, runner = run([job(TRAIN, f"t{i}") for i in range(5)], cores=cores)
        assert runner.most == cores


def test_idle_cores_go_to_jobs_that_can_use_them():
    _, runner = run([job(EVALUATE, "e")], cores=4)
    assert runner.started == [("e", 4)]
    _, runner = run([job(TRAIN, "t")], cores=4)
    assert runner.started == [("t", 1)]
    _, runner = run([job(EVALUATE, "e"), job(TRAIN, "t")], cores=2)
    assert runner.started == [("e", 1), ("t", 1)]
    _, runner = run([job(DATA, "a"), job(DATA, "b")], cores=4)
    assert runner.started == [("a", 2), ("b", 2)]


def test_a_failure_takes_with_it_what_needs_it_and_nothing_else():
    states, runner = run(CHAIN, runner=Notebook({"t2": JobResult(None, "It broke.")}))
    assert {key: state.state for key, state in states.items() if state.state != DONE} == {"t2": FAILED, "e2": BLOCKED}
    assert states["e2"].reason == "It broke."
    assert "e2" not in [key for key, _ in runner.started]


def test_a_failure_at_the_root_blocks_everything_behind_it():
    states, _ = run(CHAIN, runner=Notebook({"d": JobResult(None, "No disk.")}))
    assert [state.state for state in states.values()] == [FAILED] + [BLOCKED] * 6


def test_a_result_that_cannot_be_stored_fails_its_job_only():
    def finished(job, result):
        if job.key == "t1":
            raise KeyError("steps")

    states, _ = run(CHAIN, finished=finished)
    assert states["t1"].state == FAILED and "steps" in states["t1"].reason
    assert states["e1"].state == BLOCKED and states["e2"].state == DONE


def test_an_exception_while_watching_stops_the_running_jobs():
    def watch(states):
        raise KeyboardInterrupt

    runner = Notebook()
    with pytest.raises(KeyboardInterrupt):
        Schedule([job(TRAIN, "a"), job(TRAIN, "b")], runner, 2, lambda *_: None, watch, poll_s=0).run()
    assert runner.stopped == ["a", "b"]


def test_value_error_and_cost_run_too():
    states, _ = run([job(TRAIN, "t"), job(VALUE, "v", "t"), job(COSTS, "c")])
    assert all(state.state == DONE for state in states.values())
