"""The service is played by a script; that it serves a GPU is for `pytest -m gpu`."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from scaling.training import service
from scaling.training.origins import ask_worker
from scaling.training.service import PIPES, find_service, join_service, side_by_side

PROGRAM = f"""#!/bin/sh
if [ "$1" = -d ]; then touch "${PIPES}/control"; exit $STATUS; fi
read word && [ "$word" = quit ] && echo "${PIPES}" >> "$ENDED"
"""


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """A service that is installed, not running, and serves; the file that its end is told to."""
    program, ended = tmp_path / service.PROGRAM, tmp_path / "ended"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ENDED", str(ended))
    monkeypatch.setenv("STATUS", "0")
    monkeypatch.setenv(PIPES, str(tmp_path / "nowhere"))
    monkeypatch.setattr(service, "TOUCH", "")
    return ended


def pipes_of_a_worker():
    join_service()
    return os.environ.get(PIPES)


def test_it_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv(PIPES, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_service() == "absent"
    (tmp_path / service.PROGRAM).touch(mode=0o755)
    assert find_service() == "not started"
    (tmp_path / "control").touch()
    assert find_service() == "running"


def test_workers_join_it_for_as_long_as_it_is_wanted(ended):
    theirs = os.environ[PIPES]
    for times in (1, 2):  # processes that start workers are there already
        with pytest.raises(KeyboardInterrupt), side_by_side():
            own = ask_worker(pipes_of_a_worker)
            assert Path(own, "control").exists() and find_service() == "running"
            raise KeyboardInterrupt
        assert ended.read_text().split() == [own] * times
        assert not Path(own).exists() and find_service() == "not started"
        assert ask_worker(pipes_of_a_worker) != own
    assert os.environ[PIPES] == theirs


@pytest.mark.parametrize("fault", ["start", "touch"])
def test_one_that_does_not_serve_is_left_alone(ended, monkeypatch, fault):
    monkeypatch.setenv("STATUS", "1" if fault == "start" else "0")
    monkeypatch.setattr(service, "TOUCH", "raise SystemExit(100)" if fault == "touch" else "")
    with side_by_side():
        assert find_service() == "not started"
    assert ended.exists() == (fault == "touch")


def test_one_of_others_is_used_as_it_is(ended):
    theirs = Path(os.environ[PIPES])
    theirs.mkdir()
    (theirs / "control").touch()
    with side_by_side():
        assert find_service() == "running"
        assert "scaling-mps-" not in str(ask_worker(pipes_of_a_worker))
    assert not ended.exists() and (theirs / "control").exists()


def test_it_ends_with_what_started_it_though_that_is_killed(ended):
    body = "from scaling.training import service; service.TOUCH = ''; import time\n"
    body += "with service.side_by_side(): print('on', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    pipes = Path(tempfile.gettempdir()) / f"scaling-mps-{process.pid}"
    for _ in range(500):
        if ended.exists() and not pipes.exists():
            break
        time.sleep(0.02)
    assert ended.read_text().split() == [str(pipes)] and not pipes.exists()
