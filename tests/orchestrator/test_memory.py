"""Memory that threads share."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT_ARENAS = """
import ctypes, threading
from orchestrator.memory import share_arenas
if {shared}:
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
together = threading.Barrier(8)
def work():
    together.wait()
    block = libc.malloc(1000)
    together.wait()
    libc.free(block)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is not glibc")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_of_a_driver_share_two_arenas(shared):
    command = [sys.executable, "-c", COUNT_ARENAS.format(shared=shared)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (said.count("<heap ") <= 2) == shared
