"""A real SLURM on this machine for tests: munged, slurmctld and slurmd with ports and folders of their own.

Needed: root, Debian's slurm-wlm and munge. Two slurmd stand for two machines; together they say that they have four
cores and two GPUs, which are files.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SECONDS = 60
CORES, GPUS = 4, 2  # of all machines together


def why_not():
    """The reason why no SLURM can be started here, "" where one can."""
    missing = [name for name in DAEMONS if _program(name) is None]
    if missing:
        return f"{missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)"
    return "" if os.getuid() == 0 else "SLURM's daemons need root"


@contextmanager
def slurm(folder: Path, machines: int = 1):
    """SLURM of so many machines in this folder; yields the environment of its commands."""
    folder.chmod(0o755)
    host, daemons = socket.gethostname().partition(".")[0], []
    nodes = [f"machine{number}" for number in range(machines)]
    try:
        daemons.append(_munge(folder))
        (folder / "slurm.conf").write_text(_configuration(folder, host, nodes))
        gres = []
        for number in range(GPUS):
            device = folder / f"gpu{number}"
            device.touch()
            gres.append(f"NodeName={nodes[number % machines]} Name=gpu File={device}\n")
        (folder / "gres.conf").write_text("".join(gres))
        environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        for name, words in [("slurmctld", []), *(("slurmd", ["-N", node]) for node in nodes)]:
            log = (folder / f"{'-'.join([name, *words[1:]])}.out").open("w")
            command = [_program(name), "-D", *words]
            daemons.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))
        _wait_until_idle(environment, folder, machines)
        yield environment
        _let_jobs_end(environment)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        _end_what_is_left(folder)


def _let_jobs_end(environment):
    """Wait until the queue is empty: a step daemon whose controller is gone waits for it for ever."""
    until = time.monotonic() + 20
    command = ["squeue", "--noheader"]
    while subprocess.run(command, env=os.environ | environment, capture_output=True).stdout.strip():
        if time.monotonic() > until:
            return
        time.sleep(0.5)


def _end_what_is_left(folder):
    """End step daemons and jobs of this cluster, by the configuration file in their environment."""
    mine = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mine in (place / "environ").read_bytes().split(b"\0"):
                os.kill(int(place.name), signal.SIGKILL)


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


def _configuration(folder, host, nodes):
    (controller, *ports), each = _free_ports(1 + len(nodes)), len(nodes)
    machines = "".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CORES // each} RealMemory=8000"
        f" Gres=gpu:{GPUS // each} State=UNKNOWN\n"
        for node, port in zip(nodes, ports, strict=True)
    )
    for name in ("state", "spool"):
        (folder / name).mkdir()
    return f"""
ClusterName=robo_orl_test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
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
{machines}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _wait_until_idle(environment, folder, machines):
    def idle():
        command = ["sinfo", "--noheader", "--Node", "--format=%T"]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        return done.stdout.split() == ["idle"] * machines

    _wait(idle, f"not all machines are idle: {folder}/slurmctld.log, {folder}/slurmd-*.log")


def _wait(condition, said):
    until = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(said)
        time.sleep(0.2)


def _free_ports(count):
    """Ports that are free now, all different: each socket is open until the last one is found."""
    with ExitStack() as sockets:
        found = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


if __name__ == "__main__":  # one to try things out, until Ctrl-C: FOLDER [MACHINES]
    with slurm(Path(sys.argv[1]), int((sys.argv[2:] or ["1"])[0])) as variables:
        print(variables, flush=True)
        time.sleep(10**6)
