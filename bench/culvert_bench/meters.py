# SPDX-License-Identifier: Apache-2.0
"""What is read from the kernel around a measurement: CPU clocks of processes and of the machine, memory, slab."""

import contextlib
import dataclasses
import os
import pathlib
import re
import struct
import time

TICKS = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count() or 1


def process_cpu_s(pid: int) -> float:
    """CPU time of a process with all its threads, ended ones too, in nanosecond steps (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def machine_cpu_s() -> float:
    """CPU time of the whole machine: wall time of all CPUs less idle, iowait and steal; softirq is in it."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, iowait, steal = fields[3], fields[4], fields[7]
    return time.monotonic() * CPUS - (idle + iowait + steal) / TICKS


@dataclasses.dataclass
class Use:
    """What one stretch of time cost."""

    seconds: float = 0.0
    machine_s: float = 0.0
    processes_s: float = 0.0


@contextlib.contextmanager
def use_of(pids: list[int]):
    use = Use()
    began, machine, processes = time.monotonic(), machine_cpu_s(), sum(map(process_cpu_s, pids))
    yield use
    use.processes_s = sum(map(process_cpu_s, pids)) - processes
    use.machine_s = machine_cpu_s() - machine
    use.seconds = time.monotonic() - began


IDLE_DRIVER = pathlib.Path("/sys/devices/system/cpu/cpuidle/current_driver")


@contextlib.contextmanager
def awake_cpus():
    """Holds /dev/cpu_dma_latency at 0, so that no CPU sleeps deeper than it spins. Where that is without effect, because there is no such device or no idle driver
    that would follow it (many virtual machines), the measurement says so by `False`."""
    try:
        device = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(device, struct.pack("i", 0))
        yield IDLE_DRIVER.exists() and IDLE_DRIVER.read_text().strip() != "none"
    finally:
        os.close(device)


ALLOWED = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


@contextlib.contextmanager
def congestion_control_allowed(name: str):
    """Other network namespaces than the first may only choose what is listed here; as before when it ends."""
    before = ALLOWED.read_text().strip()
    if name in before.split():
        yield
        return
    ALLOWED.write_text(f"{before} {name}")
    try:
        yield
    finally:
        ALLOWED.write_text(before)


def memory_kib(pid: int) -> dict[str, int]:
    """Rss, Pss, Anonymous and the rest of smaps_rollup."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def slab_kib() -> int:
    return int(re.search(r"^Slab:\s+(\d+) kB$", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)[1])


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    cpu = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"kernel": os.uname().release, "architecture": os.uname().machine, "cpus": CPUS, "cpu": cpu[1] if cpu else "unknown"}
