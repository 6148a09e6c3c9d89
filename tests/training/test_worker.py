import errno
import os
import time

import pytest

from scaling.training import worker


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for(number, monkeypatch):
    waited, tries = [], []
    monkeypatch.setattr(time, "sleep", waited.append)

    def write(value):
        tries.append(value)
        if len(tries) < 3:
            raise OSError(number, os.strerror(number))

    worker.patiently(write, "record")
    assert tries == ["record"] * 3
    assert waited == [1.0, 4.0]


def test_a_disk_that_stays_full_or_forbids_is_an_error(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    tries = []

    def write(number):
        tries.append(number)
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match="No space left"):
        worker.patiently(write, errno.ENOSPC)
    with pytest.raises(PermissionError):
        worker.patiently(write, errno.EACCES)
    assert tries.count(errno.ENOSPC) == 1 + len(worker.WRITE_AGAIN_S)
    assert tries.count(errno.EACCES) == 1
