"""A real SLURM of one machine for tests: munged, slurmctld and slurmd with ports and folders of their own.

Needed: root, Debian's slurm-wlm and munge. The machine says that it has four cores and two GPUs, which are files.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SECONDS = 60


def why_not():
    """The reason why no SLURM can be started here, "" where one can."""
    missing = [name for name in DAEMONS if _program(name) is None]
    if missing:
        return f"{missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)"
    return "" if os.getuid() == 0 else "SLURM's daemons need root"


@contextmanager
def slurm(folder: Path):
    """SLURM in this folder; yields the environment of its commands."""
    folder.chmod(0o755)
    host, daemons = socket.gethostname().partition(".")[0], []
    try:
        daemons.append(_munge(folder))
        (folder / "slurm.conf").write_text(_configuration(folder, host))
        devices = [folder / f"gpu{number}" for number in range(2)]
        for device in devices:
            device.touch()
        lines = [f"NodeName={host} Name=gpu File={device}\n" for device in devices]
        (folder / "gres.conf").write_text("".join(lines))
        environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        for name in ("slurmctld", "slurmd"):
            log = (folder / f"{name}.out").open("w")
            command = [_program(name), "-D", *(["-N", host] if name == "slurmd" else [])]
            daemons.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))
        _wait_until_idle(environment, folder)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _program(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _munge(folder):
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    command = [_program("munged"), "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.sock"]
    command += [f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait(lambda: (folder / "munge.sock").exists(), f"munged does not start: {folder}/munge.log")
    return daemon


def _configuration(folder, host):
    ports = [_free_port(), _free_port()]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    return f"""
ClusterName=robo_orl_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
ReturnToService=2
KillWait=10
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _wait_until_idle(environment, folder):
    def idle():
        command = ["sinfo", "--noheader", "--format=%T"]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return done.stdout.strip() == "idle"

    _wait(idle, f"no machine is idle: {folder}/slurmctld.log, {folder}/slurmd.log")


def _wait(condition, said):
    until = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(said)
        time.sleep(0.2)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":  # one to try things out, until Ctrl-C
    with slurm(Path(sys.argv[1])) as variables:
        print(variables, flush=True)
        time.sleep(10**6)
