from __future__ import annotations

import os
import signal
import subprocess

from backburner.supervisor.system.children import signal_group


def test_signal_reaches_a_child_and_its_group():
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        assert signal_group(child.pid, os.getpid(), signal.SIGTERM)
        assert child.wait(20) == -signal.SIGTERM
    assert not signal_group(child.pid, os.getpid(), signal.SIGTERM)


def test_signal_reaches_only_the_child_if_it_leads_no_group():
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert signal_group(child.pid, os.getpid(), signal.SIGTERM)
        assert child.wait(20) == -signal.SIGTERM


def test_signal_for_a_child_of_another_process_is_not_sent():
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
        assert not signal_group(child.pid, os.getppid(), signal.SIGKILL)
        assert child.poll() is None
        child.terminate()
