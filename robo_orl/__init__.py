"""robo_orl: when does a critic pay? Behaviour cloning against offline RL on one backbone, measured.

The Python interface is loaded at its first use: importing the package loads no torch and no simulator.
"""

__version__ = "0.2.0"

_INTERFACE = {
    "generate_data": "robo_orl.api",
    "record_data": "robo_orl.api",
    "train_policy": "robo_orl.api",
    "evaluate_policy": "robo_orl.api",
    "held_out_errors": "robo_orl.api",
    "tables": "robo_orl.api",
    "load_policy": "robo_orl.evaluate.policy",
    "Policy": "robo_orl.evaluate.policy",
    "register": "robo_orl.base.plugins",
}


def __getattr__(name: str) -> object:
    if name not in _INTERFACE:
        raise AttributeError(f"module 'robo_orl' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_INTERFACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_INTERFACE])
