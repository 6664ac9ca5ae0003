"""Training from a notebook: in an event loop or a thread of it, with a main module without a file, without /dev/shm."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CELL = """
import sys
from pathlib import Path
import tiny
from robo_orl.engine.train import train
run = tiny.run_of(Path(sys.argv[1]), {"optim": {"steps": 2, "warmup_steps": 1}})
print("finished", train(run, Path(sys.argv[2]), progress=False).finished)
"""
KERNEL = """
import asyncio, sys, types
sys.modules["__main__"] = main = types.ModuleType("__main__")  # a kernel's: without __file__ and __spec__
cell = compile({cell!r}, "<ipython-input-1>", "exec")
async def kernel():
    {run}
asyncio.run(kernel())
"""
RUNS = {"event loop": "exec(cell, main.__dict__)", "thread": "await asyncio.to_thread(exec, cell, main.__dict__)"}
NO_SHM = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]


def trained(data: Path, out: Path, run: str, launcher: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = KERNEL.format(cell=CELL, run=run)
    command = [*launcher, sys.executable, "-c", code, str(data), str(out)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)


@pytest.mark.parametrize("run", RUNS)
def test_training_runs_in_a_notebook(run, data, tmp_path):
    done = trained(data, tmp_path / "run", RUNS[run], [])
    assert done.stdout.strip().endswith("finished True"), done.stderr


def test_training_needs_no_shared_memory(data, tmp_path):
    if shutil.which("unshare") is None or subprocess.run([*NO_SHM, "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    done = trained(data, tmp_path / "run", RUNS["event loop"], NO_SHM)
    assert done.stdout.strip().endswith("finished True"), done.stderr


NOTEBOOK = (
    "import os, robo_orl; from pathlib import Path; out = Path(os.environ['NOTEBOOK_OUT'])",
    "made = robo_orl.generate_data('lift', 'ph', 2, out / 'lift.hdf5', workers=2); print(made['all']['episodes'])",
    "short = ['policy.optim.steps=2', 'policy.optim.batch_size=8']",
    "run = robo_orl.train_policy('bc', 'lift', out / 'lift.hdf5', out / 'run', short, tracker='none')",
    "score = robo_orl.evaluate_policy(out / 'run', episodes=2, workers=2); print(score['success_once']['n'])",
    "import asyncio; print(asyncio.get_running_loop().is_running(), run['finished'])",
)


@pytest.mark.slow
def test_a_real_kernel_generates_trains_and_evaluates(tmp_path):
    """Cells of a kernel run inside its event loop; simulator processes start from its main module without a file."""
    for package in ("nbclient", "ipykernel", "robosuite"):
        pytest.importorskip(package, reason=f"{package} is not installed: no real kernel with a simulator")
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(cells=[new_code_cell(cell) for cell in NOTEBOOK])
    path = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"NOTEBOOK_OUT": str(tmp_path), "PYTHONPATH": path}
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute(env=environment)
    printed = [out.text for cell in notebook.cells for out in cell.outputs if out.get("name") == "stdout"]
    assert "".join(printed).split() == ["2", "2", "True", "True"]
