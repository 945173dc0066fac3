# SPDX-License-Identifier: Apache-2.0
"""One node's culvertd: its configuration, its life, and what it says through culvertctl and /metrics."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import typing

from . import run

if typing.TYPE_CHECKING:
    from .world import Node

METRICS_PORT, READINESS_PORT, LOCAL_PORT = 15020, 15021, 15000
# "kernel" or "user": the record engine of every agent whose test does not choose one. Otherwise `auto` does.
RECORDS = os.environ.get("CULVERT_TEST_RECORDS", "")


def merge(base: dict, over: dict) -> dict:
    """`over` into a copy of `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


class Agent:
    def __init__(self, node: "Node"):
        self.node = node
        self.daemon: run.Daemon | None = None
        self.extra_config: dict = {}  # merged into this node's configuration
        self.command_prefix: list[str] = []  # for example prlimit
        self.environment: dict[str, str] = {}  # beside this process's
        self.starts = 0

    @property
    def run_dir(self) -> pathlib.Path:
        return self.node.directory / "run"

    @property
    def state_dir(self) -> pathlib.Path:
        return self.node.directory / "state"

    @property
    def config_path(self) -> pathlib.Path:
        return self.node.directory / "culvertd.yaml"

    @property
    def pid(self) -> int:
        """culvertd's own process id: nsenter becomes it."""
        assert self.daemon is not None
        return self.daemon.pid

    def config(self) -> dict:
        world = self.node.world
        base = {"node_name": self.node.name, "state_dir": str(self.state_dir), "run_dir": str(self.run_dir), "workers": 2,
                "bpf": {"pin_dir": str(self.node.pin_dir)},
                "identity": {"embedded": {"directory": str(world.directory / "ca")}},
                "log": {"level": "debug"}, "tunnel": world.tunnel,
                "mesh": world.mesh_config()}
        if RECORDS:
            base["records"] = {"tx": RECORDS, "rx": RECORDS}
        if run.SLOW:  # a handshake waits behind the load of an emulated machine for longer than a real one's limits allow
            base["tunnel"] = merge({"connect_timeout": "90s", "handshake": {"timeout": "90s"}}, world.tunnel)
        return merge(merge(base, world.extra_config), self.extra_config)

    def write_config(self) -> None:
        # JSON is YAML. Written whole and renamed, as any careful tool does.
        temporary = self.config_path.with_suffix(".new")
        temporary.write_text(json.dumps(self.config(), indent=2))
        temporary.rename(self.config_path)

    # Life.
    def start(self, *, wait: bool = True) -> None:
        assert not self.is_running(), "the agent runs already"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.write_config()
        self.starts += 1
        command = [*self.command_prefix, run.binary("culvertd"), "--config", str(self.config_path)]
        self.daemon = run.Daemon(self.node.netns.command(command), self.log_path, env=self.environment or None)
        if wait:
            self.wait_ready()

    @property
    def log_path(self) -> pathlib.Path:
        return self.node.directory / f"culvertd.{self.starts}.log"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def is_running(self) -> bool:
        return self.daemon is not None and self.daemon.is_running()

    def is_ready(self) -> bool:
        """Nobody there is as good as a no."""
        try:
            return self.http(READINESS_PORT, "/healthz/ready")[0] == 200
        except OSError:
            return False

    def wait_ready(self, timeout: float = 20.0) -> None:
        assert self.daemon is not None
        self.daemon.wait_ready(self.is_ready, f"culvertd of {self.node.name}", timeout)
        if RECORDS:
            self.assert_engines()

    def assert_engines(self) -> None:
        """What CULVERT_TEST_RECORDS says is in force, and not what an agent would fall back to."""
        wanted = self.config()["records"]
        for engines in self.ctl("status")["engines"]:
            for way in ("tx", "rx"):
                assert wanted[way] != RECORDS or engines[way].startswith(RECORDS), f"{RECORDS} was asked for: {engines}"

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM: drains, then ends. The exit status."""
        assert self.daemon is not None
        self.daemon.signal(signal.SIGTERM)
        status = self.daemon.wait(timeout)
        self.daemon = None
        return status

    def kill(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon = None

    def reload(self) -> None:
        """Writes the configuration anew and waits until its workloads are those that the agent knows."""
        self.write_config()
        assert self.daemon is not None
        self.daemon.signal(signal.SIGHUP)
        wanted = {(w.get("namespace", "default"), w["name"]) for w in self.config()["mesh"]["workloads"]}
        run.wait_for(lambda: {(w["namespace"], w["name"]) for w in self.ctl("workloads")} == wanted,
                     f"{self.node.name} to know workloads {sorted(wanted)}")

    # What it says.
    def ctl_command(self, *arguments: str) -> list[str]:
        return [run.binary("culvertctl"), "--socket", str(self.run_dir / "admin.sock"), *arguments]

    def ctl(self, *arguments: str, check: bool = True) -> typing.Any:
        """culvertctl ... --json, parsed. A list answer may stand under its command's name."""
        done = run.run(self.ctl_command(*arguments, "--json"), check=check)
        if not done.stdout.strip():
            return None
        answer = json.loads(done.stdout)
        if isinstance(answer, dict) and isinstance(answer.get(arguments[0]), list):
            return answer[arguments[0]]
        return answer

    def known(self) -> set[str]:
        """The uids of the workloads that it knows."""
        return {row["uid"] for row in self.ctl("workloads")}

    def http(self, port: int, path: str) -> tuple[int, str]:
        """GET from inside the node, as a kubelet or Prometheus does it."""
        connection = http.client.HTTPConnection("node", port)
        with contextlib.closing(connection):
            connection.sock = self.node.netns.socket()
            connection.sock.settimeout(run.scaled(5))
            connection.sock.connect(("127.0.0.1", port))
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def local(self, path: str, *, method: str = "GET", timeout: float = 30.0) -> tuple[int, str]:
        """What the local port answers, asked from inside the node as a port-forward does it."""
        connection = http.client.HTTPConnection("localhost", LOCAL_PORT)
        with contextlib.closing(self.node.netns.socket()) as connection.sock:
            connection.sock.settimeout(run.scaled(timeout))
            connection.sock.connect(("127.0.0.1", LOCAL_PORT))
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def dump(self) -> dict:
        status, text = self.local("/config_dump")
        if status != 200:
            raise run.NotYet(text)
        return json.loads(text)

    def metrics(self) -> dict[str, float]:
        """Every sample by its name with labels."""
        status, body = self.http(METRICS_PORT, "/metrics")
        if status != 200:
            raise run.NotYet(body)
        samples = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name that carry these labels."""
        total = 0.0
        for sample, value in self.metrics().items():
            if sample.split("{")[0] == name and all(f'{key}="{text}"' in sample for key, text in labels.items()):
                total += value
        return total

    def access_log(self, *parts: str, count: int = 1) -> list[str]:
        """Lines of ended connections that hold all of `parts`, oldest first. Waits until there are `count`: a line is written
        when both sides of a relay have ended, which is later than what the application sees of it."""

        def found() -> list[str]:
            return [line for line in self.access_log_so_far() if all(part in line for part in parts)]

        about = f" with {' and '.join(parts)}" if parts else ""
        return run.wait_for(lambda: len(lines := found()) >= count and lines, f"{count} line(s) of node {self.node.name}'s access log{about}")

    def access_log_so_far(self) -> list[str]:
        """What of it there is at this moment: to count from, or to say that something is not there."""
        return self.access_lines("complete", "failed")

    def opened_log(self) -> list[str]:
        """Lines of opened connections, oldest first; at level debug only."""
        return self.access_lines("opened")

    def access_lines(self, *words: str) -> list[str]:
        message = re.compile(rf"\baccess\b.*\bconnection ({'|'.join(words)})\b")
        return [line for line in self.log().splitlines() if message.search(line)]

    def rss_kib(self) -> int:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100.0

    def worker_cpu_seconds(self) -> list[float]:
        """Of each worker's thread."""
        seconds = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            if name.startswith("culvert-w"):
                seconds[name] = sum(map(int, fields.split()[11:13])) / 100.0
        return [seconds[name] for name in sorted(seconds)]

    def is_reachable(self, port: int) -> bool:
        try:
            with contextlib.closing(self.node.netns.socket()) as connection:
                connection.settimeout(run.scaled(2))
                connection.connect(("127.0.0.1", port))
            return True
        except (OSError, socket.timeout):
            return False
