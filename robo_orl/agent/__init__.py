"""The agent: the networks of a policy with their normaliser and slow copies, trained by an objective, acting by a head.

Here the topology is decided: which backbone the critic reads, and whether its gradient reaches it.
"""
