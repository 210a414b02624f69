"""A schedule of every kind."""

import sparse_engine as engine

SCHEDULES = [
    engine.schedules.Cubic(2, 20, 3),
    engine.schedules.Linear(0, 10),
    engine.schedules.Exponential(1, 16, 5),
    engine.schedules.Cosine(0, 12, 4),
    engine.schedules.OneShot(3),
    engine.schedules.RigL(0, 20, 3),
    engine.schedules.SET(2, 20, 3, fraction=0.5),
]
