"""The vision suite records what its policies look at, and only suites with pictures say so in their keys."""

from robo_orl.config import DataRequest, View
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.job import DATA
from robo_orl.sweep.jobs import jobs_of_cell


def test_every_policy_sees_what_the_data_show(tmp_path):
    suite = load_suite("vision")
    cells = expand(suite)
    assert {cell.task.name for cell in cells} == {"lift", "chain1"}
    for cell in cells:
        seen = cell.policy.observation
        assert seen.cameras and set(seen.cameras) <= set(suite.data.view.cameras)
        assert seen.image_size == suite.data.view.size and seen.instruction and "object" not in seen.low_dim
        data = next(job for job in jobs_of_cell(cell, tmp_path, True) if job.kind == DATA)
        assert data.command[data.command.index("--cameras") + 1] == "agentview,robot0_eye_in_hand"
        assert data.command[data.command.index("--size") + 1] == "84"


def test_pictures_make_another_data_set_and_none_the_one_there_was():
    view = View(cameras=("agentview",))
    assert "view" not in DataRequest().identity()
    assert DataRequest(view=view).digest() != DataRequest().digest()
    suite = load_suite("quick")
    seeing = suite.model_copy(update={"data": suite.data.model_copy(update={"view": view})})
    assert expand(suite)[0].data_key != expand(seeing)[0].data_key
