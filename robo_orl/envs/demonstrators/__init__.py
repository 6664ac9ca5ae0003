"""Scripted demonstrators: waypoint experts, operators with faults of their own, and the regimes that data come from."""
