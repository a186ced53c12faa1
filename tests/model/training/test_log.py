"""What a training run says of itself."""

import json

import pytest

from model.training.log import Log


def test_a_line_counts_all_steps_and_averages_each_number_over_those_that_have_it(tmp_path):
    log = Log(tmp_path / "log.jsonl", "toy", every_s=500)
    log.step(1, 0.1, still=1.0)
    log.step(2, 0.2, video=2.0)
    log.last -= 1000  # so long ago
    log.step(3, 0.3, video=4.0)
    log.close()
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert {"step": 3, "done": 0.3, "still": 1.0, "video": 3.0}.items() <= line.items()
    assert line["steps_per_s"] == pytest.approx(0.003, rel=0.1)
