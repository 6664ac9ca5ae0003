"""Order, cores and failures of jobs, with a runner that only writes down what it is told."""

from pathlib import Path

import pytest

from robo_orl.sweep.job import COSTS, DATA, EVALUATE, TRAIN, VALUE, Job, JobResult
from robo_orl.sweep.resources import Node, Resources
from robo_orl.sweep.schedule import BLOCKED, DONE, FAILED, Schedule


class Notebook:
    """Ends every job at the second look, as `ends` says; keeps the order of starts and the cores given."""

    def __init__(self, ends=None, cores=2, **offer):
        self.offer = [Node(cores, **offer)]
        self.started, self.looks, self.stopped, self.most = [], {}, [], 0
        self.ends = ends or {}

    def nodes(self):
        return self.offer

    def flush(self):
        pass

    def where(self, handle):
        return ""

    def start(self, job, grant):
        self.started.append((job.key, grant.cores))
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


def run(jobs, cores=2, runner=None, finished=lambda job, result: None, **options):
    runner = runner or Notebook(cores=cores)
    return Schedule(jobs, runner, finished, watch=lambda states: None, poll_s=0, **options).run(), runner


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
        Schedule([job(TRAIN, "a"), job(TRAIN, "b")], runner, lambda *_: None, watch, poll_s=0).run()
    assert runner.stopped == ["a", "b"]


def test_value_error_and_cost_run_too():
    states, _ = run([job(TRAIN, "t"), job(VALUE, "v", "t"), job(COSTS, "c")])
    assert all(state.state == DONE for state in states.values())


# ------------------------------------------------------------------------------------------------------------ resources


def trainings(count):
    return [job(TRAIN, f"t{i}") for i in range(count)]


@pytest.mark.parametrize(("share", "most"), [(1.0, 2), (0.5, 4), (0.34, 4), (0.3, 6)])
def test_no_more_trainings_on_a_gpu_than_it_has_places_for_whatever_the_cores(share, most):
    """Two GPUs; a third of one is more than a third of its hundredths, so two fit."""
    runner = Notebook(cores=16, gpus=2)
    states, _ = run(trainings(12), runner=runner, resources=lambda job: Resources(1, share))
    assert runner.most == most and all(state.state == DONE for state in states.values())


def test_no_more_jobs_than_memory():
    runner = Notebook(cores=16, memory_bytes=10)
    run(trainings(6), runner=runner, resources=lambda job: Resources(1, 0, 4))
    assert runner.most == 2


def test_a_job_that_no_machine_can_hold_fails_with_the_reason_and_the_others_go_on():
    runner = Notebook(cores=4, gpus=2)
    needs = {"t0": Resources(4, 4.0)}
    states, _ = run(trainings(3), runner=runner, resources=lambda job: needs.get(job.key, Resources(1, 1.0)))
    assert states["t0"].reason == "It needs 4 GPUs of one machine, and none has more than 2."
    assert [states[key].state for key in ("t0", "t1", "t2")] == [FAILED, DONE, DONE]


def test_a_training_on_several_gpus_waits_for_whole_ones():
    order = []

    class Watched(Notebook):
        def start(self, job, grant):
            order.append((job.key, grant.gpus))
            return super().start(job, grant)

    needs = {"t1": Resources(2, 2.0)}
    run(trainings(2), runner=Watched(cores=4, gpus=2), resources=lambda job: needs.get(job.key, Resources(1, 0.5)))
    assert order == [("t0", (0,)), ("t1", (0, 1))]


# -------------------------------------------------------------------------------------------------------------- retries


def test_a_failed_job_is_tried_again_after_the_others_as_often_as_it_is_worth():
    reasons = []

    def again(job, reason):
        reasons.append(reason)
        return len(reasons) < 2

    runner = Notebook({"t0": JobResult(None, "It broke.")}, cores=1)
    states, _ = run(trainings(3), runner=runner, again=again)
    assert [key for key, _ in runner.started] == ["t0", "t1", "t2", "t0"]
    assert states["t0"].state == FAILED and reasons == ["It broke.", "It broke."]


def test_a_schedule_of_thousands_of_jobs_looks_at_those_that_move():
    """6,000 jobs, ten at a time: every job is asked for its resources once, and for its result while it runs."""
    jobs = [
        job(kind, f"{kind}{i}", *([f"{before}{i}"] if before else []))
        for i in range(2_000)
        for kind, before in ((DATA, ""), (TRAIN, DATA), (EVALUATE, TRAIN))
    ]
    looked, asked = [], []

    class Fast(Notebook):
        def result(self, handle):
            looked.append(handle)
            return JobResult({})

    states, _ = run(jobs, runner=Fast(cores=10), resources=lambda job: asked.append(job.key) or Resources())
    assert all(state.state == DONE for state in states.values())
    assert len(looked) == len(asked) == len(jobs)
