"""Shared by the whole suite: each process that the tests start computes on one thread."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
