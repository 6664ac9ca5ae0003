#!/bin/bash
# One node with 8 GPUs under SLURM: one process a GPU, plain DDP.
#   sbatch launch/slurm_node.sh --policy qc --task chain2 --data data.hdf5 --out runs/qc
# Change on top: time, partition, and for larger models CONFIG=launch/zero2.yaml or launch/zero3.yaml.
# What it will need: robo-orl profile --policy qc --world 8 --zero 0 --predict
#SBATCH --job-name=robo_orl
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
set -uo pipefail
CONFIG=${CONFIG:-launch/ddp.yaml}
GPUS=${SLURM_GPUS_ON_NODE:-8}
export OMP_NUM_THREADS=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
# 120 s before the time limit: all processes save one checkpoint together, and the same job waits in the queue again,
# from where it goes on. --requeue alone does so after a lost node only.
trap 'told=yes; again=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
srun accelerate launch --config_file "$CONFIG" --num_processes "$GPUS" \
  -m robo_orl train "$@" --set expect.processes="$GPUS" &
wait "$!"
code=$?
while [ -n "${again:-}" ]; do # a signal ended that `wait`
  again=
  wait "$!"
  code=$?
done
if [ -n "${told:-}" ] && [ "$code" -ne 0 ]; then
  exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
