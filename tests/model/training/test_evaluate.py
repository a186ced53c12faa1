"""The table of the scores, and the sheets of clips."""

import pytest
import torch
from PIL import Image

from model.training import evaluate
from model.training.__main__ import WEIGHTS, main


def test_a_table_counts_verdicts_averages_numbers_and_leaves_out_what_says_nothing():
    rows = {
        "loop": [
            {"shape": True, "colour": None, "closed": True, "dB": 30.0},
            {"shape": True, "colour": True, "closed": False, "dB": 34.0},
            {"shape": False, "colour": True, "closed": False, "dB": 35.0},
        ]
    }
    line = evaluate.table(rows).splitlines()[-1]
    assert "| loop | 66.7 | 100.0 |  |  |  | 66.7 | 3 | closed 33.3, dB 33.0 |" == line


def test_processes_share_the_work_and_leave_a_table_and_sheets(tmp_path, capsys):
    rows = evaluate.evaluate(WEIGHTS, count=8, workers=2, only="unseen", report=tmp_path)
    assert ["unseen word for the shape", "unseen word for the colour"] == list(rows)
    said = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() in said
    with Image.open(tmp_path / "unseen-word-for-the-shape.jpg") as sheet:
        assert sheet.width > 5 * 96


def test_a_strip_shows_a_clip_from_its_first_to_its_last_frame():
    clip = torch.linspace(-1, 1, 9)[None, None, :, None, None].expand(1, 3, 9, 32, 32)
    strip = evaluate.strip_of(clip, height=32)
    assert [0, 128, 255] == [strip.getpixel((x, 5))[0] for x in (1, 2 * 32 + 1, 4 * 32 + 1)]
    assert (32, 32) == evaluate.strip_of(clip[:, :, :1], height=32).size


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [("--weights", "nowhere", "nowhere"), ("--only", "lop", "none of the modes")],
)
def test_weights_and_modes_that_are_not_there_end_it_with_a_message(
    tmp_path, capsys, flag, value, said
):
    arguments = ["evaluate", "--count", "1", "--runs", str(tmp_path), "--only", "still image"]
    assert 1 == main([*arguments, flag, value])
    assert said in capsys.readouterr().err
