"""robo_orl: when does a critic pay? Behaviour cloning against offline RL on one backbone, measured."""

__version__ = "0.2.0"
