"""The resources of a job on the machines at hand: memory from the predictor, GPUs, places on a GPU."""

from __future__ import annotations

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig
from robo_orl.sweep.job import COSTS, MAKES_DATA, TRAIN, Job
from robo_orl.sweep.resources import Node, Resources

MIB = 2**20
PROCESS_BYTES = 600 * MIB  # resident, with torch and this package imported, on a CPU: 581 MiB
SIMULATOR_BYTES = 800 * MIB  # resident, of each process of `robo-orl data generate --task chain2`: 798 MiB
GPU_PROCESS_BYTES = 2048 * MIB  # of the host, with the CUDA libraries
SMALL = 0.01  # of a machine: below it a prediction of memory changes nothing
BYTES_PER_PARAMETER = 16  # fp32 weights, gradients and two moments


class Requirements:
    """Resources of jobs on nodes like the largest one; a job asks for no more than an empty machine has.

    per_gpu: the most trainings or evaluations that share one GPU.
    """

    def __init__(self, node: Node, per_gpu: int = 1):
        self.node, self.per_gpu = node, per_gpu
        self._predicted: dict[str, int] = {}

    def __call__(self, job: Job) -> Resources:
        """What a job takes."""
        if job.exclusive:
            return Resources(whole=True)
        if job.kind == TRAIN:
            return self._training(job)
        gpus = 0.0 if job.kind in (*MAKES_DATA, COSTS) or not self.node.gpus else 1 / self.per_gpu
        return Resources(1, gpus, self._within(PROCESS_BYTES + SIMULATOR_BYTES), SIMULATOR_BYTES)

    def _training(self, job: Job) -> Resources:
        needed = self.predicted_bytes(job)
        if not self.node.gpus or job.on_cpu:
            return Resources(job.processes, 0.0, self._within(job.processes * (PROCESS_BYTES + needed)))
        memory = self._within(job.processes * GPU_PROCESS_BYTES)
        if job.processes > 1:
            return Resources(job.processes, float(job.processes), memory)
        share = 1 / self.per_gpu
        if self.node.gpu_bytes:
            share = max(share, needed / self.node.gpu_bytes)
        return Resources(1, min(1.0, share), memory)

    def _within(self, needed: int) -> int:
        """A job that needs more than a machine has runs alone on it: the training says what would fit."""
        return needed if self.node.memory_bytes is None else min(needed, self.node.memory_bytes)

    def predicted_bytes(self, job: Job, always: bool = False) -> int:
        """Bytes of one process of a training beside its libraries; 0 where that is small, or cannot be predicted."""
        policy, task = job.policy, job.task
        if not isinstance(policy, PolicyConfig) or task is None:
            return 0
        key = f"{policy.digest()} {task.digest()} {job.processes} {always}"
        if key not in self._predicted:
            try:
                self._predicted[key] = self._predict(job, always)
            except UsageError:  # a policy that cannot be predicted trains all the same
                self._predicted[key] = 0
        return self._predicted[key]

    def _predict(self, job: Job, always: bool) -> int:
        from robo_orl.cost.parallelism import Layout
        from robo_orl.cost.predict.memory import memory
        from robo_orl.cost.predict.workload import workload_of

        cpu = not self.node.gpus or job.on_cpu
        room = self.node.memory_bytes if cpu else self.node.gpu_bytes
        if room and not always and _least_bytes(job.policy) < SMALL * room:
            return 0
        layout = Layout(job.processes, job.zero, device="cpu" if cpu else "cuda")
        return memory(workload_of(job.policy, job.task, layout)).peak_bytes


def _least_bytes(policy: PolicyConfig) -> int:
    """A first guess of the memory that weights take, with a critic of their size and slow copies of both."""
    from robo_orl.models.backbones.transformer import parameters_of_size
    from robo_orl.models.vlm.architectures import architecture

    size = policy.backbone.size
    parameters = architecture(size).parameters if policy.backbone.kind == "vlm" else parameters_of_size(size)
    return 4 * BYTES_PER_PARAMETER * parameters
