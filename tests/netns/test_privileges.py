# SPDX-License-Identifier: Apache-2.0
"""What a running culvertd has taken from itself: system calls, new privileges, core dumps, and others' looks into its memory."""

import os
import pathlib
import re
import stat

import pytest
from culvert_harness import run

WITHOUT_PTRACE = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]


def status(path: pathlib.Path, field: str) -> str:
    return re.search(rf"^{field}:\s+(\S+)$", (path / "status").read_text(), re.MULTILINE)[1]


def test_every_thread_runs_under_the_filter_and_without_new_privileges(mesh):
    threads = list(pathlib.Path(f"/proc/{mesh.a.agent.pid}/task").iterdir())
    assert len(threads) >= 3
    for thread in threads:
        assert status(thread, "Seccomp") == "2", thread
        assert status(thread, "NoNewPrivs") == "1", thread


def test_no_core_is_dumped(mesh):
    limits = pathlib.Path(f"/proc/{mesh.a.agent.pid}/limits").read_text()
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.MULTILINE), limits


def test_its_memory_is_closed_to_a_root_that_may_not_trace(world):
    """Reader and agent have the same capabilities, so that nothing but `undumpable` stands between them: another process is open."""
    world.a.agent.command_prefix = WITHOUT_PTRACE
    world.declare("client", "a", namespace="shop")
    world.a.agent.start()
    client = world.add("client")
    other = client.start([*WITHOUT_PTRACE, run.binary("flowtool"), "echo", "7002"], name="echo")
    client.netns.wait_listening(7002)

    def open_memory(pid: int):
        return run.run([*WITHOUT_PTRACE, "sh", "-c", f"exec </proc/{pid}/mem"], check=False)

    assert open_memory(other.pid).returncode == 0
    denied = open_memory(world.a.agent.pid)
    assert denied.returncode != 0 and "Permission denied" in denied.stderr, denied


class TestRunDirectory:
    """Who may write there may put a socket in the place of the agent's."""

    @pytest.mark.parametrize("before, after", [(0o777, 0o755), (0o1777, 0o1755), (0o700, 0o700), (0o755, 0o755)])
    def test_others_no_longer_write_in_it_and_its_mode_is_otherwise_kept(self, world, before, after):
        directory = world.a.agent.run_dir
        directory.mkdir(parents=True)
        directory.chmod(before)
        world.a.agent.start()
        assert stat.S_IMODE(directory.stat().st_mode) == after

    @pytest.mark.parametrize("what", ["of somebody else", "a link"])
    def test_one_that_is_not_the_agents_ends_the_start_and_is_named(self, world, what):
        directory = world.a.agent.run_dir
        if what == "a link":
            (world.a.directory / "elsewhere").mkdir(parents=True)
            directory.symlink_to(world.a.directory / "elsewhere")
        else:
            directory.mkdir(parents=True)
            os.chown(directory, 65534, 65534)
        with pytest.raises(RuntimeError, match=f"run directory.*{directory}|{directory}.*run directory"):
            world.a.agent.start()
