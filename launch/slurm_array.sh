#!/bin/bash
# The jobs of a suite as an array under SLURM: each task runs one line of a file of jobs. Submitted by
#   robo-orl bench --suite standard --out runs/standard --runner slurm --slurm '--partition=gpu --time=4:00:00'
# which adds cores, memory and GPUs of the jobs. Add the modules that your site needs below.
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
set -uo pipefail
PYTHON=$1 JOBS=$2
# 120 s before the time limit, and when a job of more priority wants the machine: the job saves a checkpoint, and the
# same task waits in the queue again.
trap 'again=yes; kill -TERM "$!"' TERM
"$PYTHON" -m robo_orl.sweep.runners.work "$JOBS" "$SLURM_ARRAY_TASK_ID" &
wait "$!"
code=$?
while [ -n "${again:-}" ]; do # a signal ended that `wait`
  again=
  wait "$!"
  code=$?
done
# 75: it was interrupted and goes on later. A bench that was told to end leaves FILE.stopped and wants nothing again.
if [ "$code" -eq 75 ] && [ ! -e "${JOBS%.jsonl}.stopped" ]; then
  exec scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
