"""A predicted training step beside the same step on real tensors."""

from dataclasses import dataclass

from robo_orl.cost.measure.memory import measured_memory
from robo_orl.cost.predict.activation_memory import step_bytes
from robo_orl.cost.predict.memory import MemoryPrediction, memory
from robo_orl.cost.synthetic_step import SyntheticStep


@dataclass
class Beside:
    """The prediction, the measured peak, and the bytes of every phase of the real step."""

    found: MemoryPrediction
    peak: int
    phases: dict


def beside_real_tensors(asked):
    """Predict a workload and run it; what is between two steps is exact, part by part."""
    step = SyntheticStep(asked.policy, asked.spec, asked.action_dim, asked.gamma)
    step.run()  # makes the moments
    measured, found = measured_memory(step), memory(asked)
    held, parts = measured.parts, found.parts
    inputs = held["window"] + asked.weights.other_bytes
    assert parts["optimizer"] == held["optimizer"] and parts["inputs"] == inputs
    assert parts["parameters"] + parts["targets"] + inputs == held["trained"] + held["not_trained"] + held["window"]
    return Beside(found, measured.peak_bytes, step_bytes(step))
