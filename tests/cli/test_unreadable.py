"""Files and folders that this user may not read: one sentence, with the remedy, from every command that meets them."""

import json

import foreign
import pytest
from unprivileged import public_folder, run_without_rights

MODULES = ("torch", "robo_orl.cli.app", "robo_orl.engine.train", "robo_orl.evaluate.success")
MODULES += ("robo_orl.data.edit", "robo_orl.data.info", "robo_orl.data.validate", "robo_orl.sweep.bench")
MODULES += ("robo_orl.report.build", "robo_orl.results.verify", "robo_orl.robomimic.evaluation", "accelerate")
ANSWERS = """
import contextlib, io, json
from robo_orl.cli.app import main
answers = []
for words in json.loads(sys.argv[1]):
    sys.argv, said = ["robo-orl", *words], io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as end:
        answers.append([end.code, said.getvalue()])
    except BaseException as error:
        answers.append(["traceback", repr(error)])
print(json.dumps(answers))
"""
READ, WRITE, ENTER = "ask its owner for the right to read it", "choose another --out", "may not enter"
TRAIN = "train --tracker none --task lift --policy"
COMMANDS = {
    f"{TRAIN} p.yaml --data ok.hdf5 --out mine/a": READ,
    f"{TRAIN} closed/p.yaml --data ok.hdf5 --out mine/a": ENTER,
    f"{TRAIN} bc --data d.hdf5 --out mine/a": READ,
    f"{TRAIN} bc --data closed/d.hdf5 --out mine/a": ENTER,
    f"{TRAIN} bc --data ok.hdf5 --out theirs": WRITE,
    f"{TRAIN} bc --data ok.hdf5 --out closed/run": ENTER,
    "data validate d.hdf5": READ,
    "data info closed/d.hdf5": ENTER,
    "data edit ok.hdf5 --drop demo_1 --out new.hdf5": WRITE,
    "data edit ok.hdf5 --drop demo_1 --out closed/new.hdf5": ENTER,
    "eval theirs": READ,
    "eval reference": READ,
    "eval closed/run": ENTER,
    "report results": READ,
    "results verify closed": READ,
    "bench --suite p.yaml --out mine/b": READ,
}


def prepare(folder):
    """Files of another user, mode 000, a closed folder, and one folder of this user."""
    for name in ("theirs", "reference", "results", "closed", "mine", "cache"):
        (folder / name).mkdir()
    foreign.lift_file(folder / "ok.hdf5")
    files = ("p.yaml", "d.hdf5", "theirs/config.json", "reference/reference.json", "results/suite.json")
    for name in files:
        (folder / name).write_text("{}")
        (folder / name).chmod(0)
    for name in ("d.hdf5", "p.yaml"):
        (folder / "closed" / name).touch()
    (folder / "closed").chmod(0)
    for name in ("mine", "cache"):
        (folder / name).chmod(0o777)


@pytest.fixture(scope="module")
def answers():
    with public_folder() as folder:
        prepare(folder)
        lines = json.dumps([line.split() for line in COMMANDS])
        environment = {"ROBO_ORL_CACHE": str(folder / "cache")}
        done = run_without_rights(ANSWERS, *MODULES, cwd=folder, arguments=(lines,), **environment)
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_may_not_be_read_is_one_sentence_with_the_remedy(answers, command):
    code, said = answers[command]
    assert code in (1, 2), said
    assert len(said.strip().splitlines()) == 1 and COMMANDS[command] in said, said
