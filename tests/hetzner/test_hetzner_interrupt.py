"""Ctrl-C during calls to Hetzner's API, at the worst moments."""

import io
import logging
import os
import signal
from collections.abc import Iterator

import gevent
import pytest
from pyinfra import logger

from kubeadm_deploys.hetzner.api.interrupt import interrupted, stopping_at_interrupt


class InterruptedStream(io.StringIO):
    """A stream with Ctrl-C during its first write; like the real one it refuses reentrant writes."""

    def __init__(self) -> None:
        super().__init__()
        self._writing = False

    def write(self, text: str) -> int:
        if self._writing:
            raise RuntimeError("reentrant call inside the stream")
        self._writing = True
        if not self.getvalue():
            os.kill(os.getpid(), signal.SIGINT)
        self._writing = False
        return super().write(text)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[InterruptedStream]:
    """Direct pyinfra's log to an interrupted stream."""
    stream = InterruptedStream()
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(stream)])
    yield stream
    interrupted.clear()


def test_ctrl_c_while_a_log_line_is_written(stream: InterruptedStream) -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopping_at_interrupt():
        logger.warning("a line")
        gevent.sleep(0.01)
        assert interrupted.is_set()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL, "a second one would not end the process"
    assert signal.getsignal(signal.SIGINT) == before
    first, second = stream.getvalue().splitlines()
    assert first == "a line"
    assert second.startswith("--> Stopping: no new API calls")
