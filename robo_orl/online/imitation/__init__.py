"""Rewards of pairs by imitation: learned beside the policy from demonstrations, and never from the task's success."""
