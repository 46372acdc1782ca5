"""Workers compute in bulk: whoever wakes up goes before them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux scheduling policy")
def test_a_worker_and_what_it_becomes_run_as_batch_work() -> None:
    code = (
        "import os, sys; from inhouse.engines.workers import guard; guard.let_others_in();"
        "os.execv(sys.executable, [sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))'])"
    )
    before = os.sched_getscheduler(0)  # whoever started the tests may have chosen a policy
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
