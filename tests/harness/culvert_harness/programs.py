# SPDX-License-Identifier: Apache-2.0
"""Programs that others wrote, and flowtool, started in pods; each waits until it can be talked to."""

import json

from . import run
from .pod import Pod


def nginx(pod: Pod, files: dict[str, bytes], port: int = 80) -> run.Daemon:
    """Serves `files`; /peer answers with the client's address."""
    root = pod.node.world.directory / f"nginx-{pod.name}-{port}"
    (root / "html").mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    for name, content in files.items():
        (root / "html" / name).write_bytes(content)
    (root / "nginx.conf").write_text(f"""
user root;
worker_processes 1;
daemon off;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {root}/access.log;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    listen {port}; listen [::]:{port};
    root {root}/html;
    location = /peer {{ return 200 "$remote_addr\\n"; }}
  }}
}}
""")
    daemon = pod.start(["nginx", "-p", str(root), "-c", str(root / "nginx.conf")], name=f"nginx-{port}")
    pod.netns.wait_listening(port)
    return daemon


def redis(pod: Pod, port: int = 6379) -> run.Daemon:
    daemon = pod.start(["redis-server", "--port", str(port), "--bind", "*", "-::*", "--save", "", "--appendonly", "no", "--protected-mode", "no",
                        "--dir", str(pod.node.world.directory)], name=f"redis-{port}")
    pod.netns.wait_listening(port)
    return daemon


def iperf3_server(pod: Pod, port: int = 5201) -> run.Daemon:
    daemon = pod.start(["iperf3", "-s", "-p", str(port), "--forceflush"], name=f"iperf3-{port}")
    pod.netns.wait_listening(port)
    return daemon


def iperf3(pod: Pod, host: str, *, port: int = 5201, seconds: float = 2.0, flows: int = 1, options: tuple[str, ...] = ()) -> dict:
    done = pod.run(["iperf3", "-c", host, "-p", str(port), "-t", str(seconds), "-P", str(flows), "-J", *options], timeout=seconds + 30)
    return json.loads(done.stdout)


def curl(pod: Pod, url: str, *options: str, check: bool = True, timeout: float = 20.0):
    return pod.run(["curl", "-sS", "-g", "--max-time", str(run.scaled(timeout)), *options, url], check=check, timeout=timeout + 10)


def transfer_server(pod: Pod, port: int = 7001, *, io_timeout_ms: int = 120_000) -> run.Daemon:
    daemon = pod.start([run.binary("flowtool"), "serve", str(port), "--io-timeout-ms", str(io_timeout_ms)], name=f"serve-{port}")
    pod.netns.wait_listening(port)
    return daemon


def echo_server(pod: Pod, port: int = 7002, *, threads: int = 1, tell_peer: bool = False) -> run.Daemon:
    daemon = pod.start([run.binary("flowtool"), "echo", str(port), "--threads", str(threads), *(["--tell-peer"] if tell_peer else [])],
                       name=f"echo-{port}")
    pod.netns.wait_listening(port)
    return daemon


def reports(daemon: run.Daemon) -> list[dict]:
    """The JSON lines that a transfer server has written so far, one for each ended connection."""
    return [json.loads(line) for line in daemon.output().splitlines() if line.startswith("{")]
