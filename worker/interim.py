"""Stands in for what the model does not have yet."""

import inspect
from typing import Any

from model import Pipeline


def generate(pipeline: Pipeline, request: Any, on_step: Any, resume: Any, *, frugal: bool) -> Any:
    """As the model's, without what it does not take."""
    able = inspect.signature(pipeline.generate).parameters
    more = {k: v for k, v in (("resume", resume), ("frugal", frugal)) if k in able}
    return pipeline.generate(request, on_step=on_step, **more)
