"""The layout of chain: start slots, zone, places. Plain numbers, no simulator."""

import numpy as np

MAX_CUBES = 8
SLOT_SIZE = 8  # position 3, position relative to the gripper 3, present 1, placed 1
HALF = 0.02  # half the edge of a cube, metres
TABLE_Z = 0.8
START_X, START_Y = (-0.13, -0.05, 0.03, 0.11), (-0.225, -0.11)  # centres of the start slots, metres
JITTER, YAW_JITTER = 0.012, 0.1  # metres, radians: uniform, to both sides
ZONE_CENTRE, ZONE_HALF = np.array([0.0, 0.15]), np.array([0.15, 0.10])  # the marked 30 x 20 cm
PLACE_X, PLACE_Y = (-0.1125, -0.0375, 0.0375, 0.1125), (0.21, 0.10)  # where an expert puts the cubes, first row first
PLACE_SLOTS = np.array([(x, y) for y in PLACE_Y for x in PLACE_X])  # (8, 2)
COLOURS = (
    (0.90, 0.10, 0.10), (1.00, 0.55, 0.00), (0.95, 0.90, 0.10), (0.15, 0.70, 0.20),
    (0.10, 0.75, 0.85), (0.10, 0.25, 0.90), (0.55, 0.15, 0.80), (0.95, 0.45, 0.75),
)  # fmt: skip
