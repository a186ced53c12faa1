"""The supervisor with parts that are tiny real programs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.contract.settings import Settings
from app.embedded import EmbeddedService, serve
from app.supervisor import Part, Supervisor

STAYS = "import signal, time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
COUNTS = """
import pathlib
path = pathlib.Path({0!r})
path.write_text(path.read_text() + "x")
raise SystemExit(1)
"""
#: A worker: its child hands its job back when its parent says so.
HANDS_BACK = """
import os, signal
reader, writer = os.pipe()
if os.fork() == 0:
    os.read(reader, 1)
    print("handed back", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, lambda *_: os.write(writer, b"x"))
print("up", flush=True)
os.wait()
"""
HOPELESS = "import sys; print('KINORA_X is wrong', flush=True); sys.exit(2)"


def part(name, program, log_path=None):
    return Part(name, [sys.executable, "-S", "-c", program], dict(os.environ), log_path)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def supervise():
    running = []

    def start(*parts):
        supervisor = Supervisor(list(parts))
        supervisor.start()
        running.append(supervisor)
        return supervisor

    yield start
    for supervisor in running:
        supervisor.stop()


def test_a_part_that_dies_is_started_again_and_again(supervise, tmp_path):
    counter = tmp_path / "starts"
    counter.write_text("")
    supervise(part("counts", COUNTS.format(str(counter))))
    wait_for(lambda: len(counter.read_text()) >= 3)


def test_a_part_that_cannot_be_started_now_is_started_later(supervise, tmp_path):
    late = Part("late", [str(tmp_path / "python"), "-S", "-c", STAYS], dict(os.environ))
    supervise(late)
    wait_for(lambda: late.deaths)
    (tmp_path / "python").symlink_to(sys.executable)
    wait_for(lambda: late.running)


def test_a_part_that_died_a_thousand_times_is_started_again(supervise, tmp_path, monkeypatch):
    monkeypatch.setattr("app.supervisor.LONGEST_PAUSE_S", 0.1)
    counter = tmp_path / "starts"
    counter.write_text("")
    dies = part("dies", COUNTS.format(str(counter)))
    dies.deaths = 2000
    supervise(dies)
    wait_for(lambda: len(counter.read_text()) >= 2)


def test_only_the_part_itself_is_told_to_end(supervise, tmp_path):
    log = tmp_path / "log"
    supervisor = supervise(part("worker", HANDS_BACK, log))
    wait_for(lambda: log.exists() and "up" in log.read_text())
    supervisor.stop()
    assert "handed back" in log.read_text()


def test_a_hopeless_part_ends_all_with_its_words(supervise, tmp_path):
    stays = part("stays", STAYS)
    supervisor = supervise(stays, part("api", HOPELESS, tmp_path / "api.log"))
    wait_for(supervisor.ended.is_set)
    assert "api cannot run" in str(supervisor.error)
    assert "KINORA_X is wrong" in str(supervisor.error)
    assert not stays.running


def test_where_a_hopeless_part_has_no_log_one_is_told_where_to_look(supervise):
    supervisor = supervise(part("worker", HOPELESS))
    wait_for(supervisor.ended.is_set)
    assert str(supervisor.error) == "worker cannot run: the last error above says why."


def test_a_part_that_ignores_sigterm_is_killed(supervise, tmp_path, monkeypatch):
    monkeypatch.setattr("app.supervisor.STOP_S", 0.2)
    log = tmp_path / "log"
    stubborn = part("stubborn", STUBBORN, log)
    supervisor = supervise(stubborn)
    wait_for(lambda: log.exists() and "up" in log.read_text())
    supervisor.stop()
    assert -signal.SIGKILL == stubborn.process.returncode


def test_parts_end_when_the_supervisors_process_is_killed(tmp_path):
    program = f"""
import sys, time
from app.supervisor import Part, Supervisor
part = Part("p", [sys.executable, "-S", "-c", {STAYS!r}], {{}})
Supervisor([part]).start()
while not part.process:
    time.sleep(0.01)
print(part.process.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        child = int(process.stdout.readline())
        process.kill()
    wait_for(lambda: not running(child))


def running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_folder_that_is_no_checkpoint_is_said(tmp_path, capsys):
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert 2 == serve(Settings(data=tmp_path / "data", port=0), (tmp_path,))
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), former, strict=True):
            signal.signal(number, handler)
    assert "model_index.json" in capsys.readouterr().err


def test_workers_of_checkpoints_with_one_name_have_names_and_ports_of_their_own(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("KINORA_METRICS_PORT", "9100")
    folders = [tmp_path / name / "weights" for name in "ab"]
    service = EmbeddedService(Settings(data=tmp_path, port=80), folders, 2)
    parts = service._parts(tmp_path / "redis.sock")
    given = [part.environment for part in parts if part.name.startswith("worker")]
    assert len({one["KINORA_WORKER_NAME"] for one in given}) == 4
    assert [one["KINORA_METRICS_PORT"] for one in given] == ["9101", "9102", "9103", "9104"]
