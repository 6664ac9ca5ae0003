#!/bin/bash
# Several nodes with 8 GPUs each under SLURM: ZeRO-2, one launcher a node, one process a GPU.
#   sbatch --nodes=4 launch/slurm_nodes.sh --policy qc --task chain2 --data data.hdf5 --out runs/qc
# Change on top: nodes, time, partition, and CONFIG (launch/ddp.yaml, launch/zero3.yaml). --data and --out must be
# on a file system that all nodes share.
# What it will need: robo-orl profile --policy qc --world 16 --zero 2 --predict
#SBATCH --job-name=robo_orl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append
set -uo pipefail
CONFIG=${CONFIG:-launch/zero2.yaml}
export GPUS=${SLURM_GPUS_ON_NODE:-8} # of every node
export OMP_NUM_THREADS=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
export MAIN_ADDRESS MAIN_PORT=29500
HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MAIN_ADDRESS=${HOSTS%%$'\n'*} # the first; `head` would hang up on scontrol, which pipefail takes for a failure
# 120 s before the time limit: all processes save one checkpoint together, and the same job waits in the queue again,
# from where it goes on. --requeue alone does so after a lost node only.
trap 'told=yes; again=yes; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
# $SLURM_NODEID differs on every node: it is expanded there, by the inner shell. The ZeRO files name the standard
# launcher: with DeepSpeed's own, every node would train apart from the others. expect.processes holds that they do not.
srun bash -c 'exec accelerate launch --config_file "$0" \
  --num_machines "$SLURM_NNODES" --num_processes $((GPUS * SLURM_NNODES)) --machine_rank "$SLURM_NODEID" \
  --main_process_ip "$MAIN_ADDRESS" --main_process_port "$MAIN_PORT" \
  -m robo_orl train "$@" --set expect.processes=$((GPUS * SLURM_NNODES))' "$CONFIG" "$@" &
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
