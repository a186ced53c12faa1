"""The processes that draw: they end with the trainer that they draw for."""

import subprocess
import sys

from model.training import language

TRAINER = """
import multiprocessing, os, sys
from pathlib import Path
from model.training.filling import draw_on

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    drawn = context.Queue(1)
    how = {"tokens": 300, "seed": 0, "at": 0, "every": 1, "parent": os.getpid()}
    context.Process(target=draw_on, args=(drawn, Path(sys.argv[1])), kwargs=how).start()
    drawn.get()
    print("drawing", flush=True)
    sys.stdin.read()
"""


def test_what_draws_for_a_trainer_that_was_killed_ends_too(tmp_path):
    language.build_tokenizer(tmp_path)
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    pipe = subprocess.PIPE
    trainer = subprocess.Popen([sys.executable, script, tmp_path], stdin=pipe, stdout=pipe)
    assert trainer.stdout is not None and b"drawing\n" == trainer.stdout.readline()
    trainer.kill()
    # What it prints to is closed only once nobody is left that could print there.
    assert b"" == trainer.communicate(timeout=60)[0]
