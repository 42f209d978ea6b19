"""Random numbers for load and waits. A trainer's own seeded ones are left alone: when these are drawn is chance."""

import os
from random import Random

CHANCE = Random()
# A process forked from this one would else choose the same endpoints and waits.
os.register_at_fork(after_in_child=CHANCE.seed)
