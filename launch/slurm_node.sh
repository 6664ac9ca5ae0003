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
#SBATCH --signal=TERM@120
set -euo pipefail
CONFIG=${CONFIG:-launch/ddp.yaml}
export OMP_NUM_THREADS=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
# An interrupted run goes on from its newest checkpoint: --requeue starts this same command again.
srun accelerate launch --config_file "$CONFIG" --num_processes 8 -m robo_orl train "$@" --set expect.processes=8
