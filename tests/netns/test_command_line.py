# SPDX-License-Identifier: Apache-2.0
"""What a person types: culvertctl in words and in JSON, and culvertd's check of a configuration."""

import contextlib
import json
import signal
import subprocess

import pytest
from culvert_harness import programs, run, scaled, wait_for


def words(agent, *arguments: str) -> str:
    return run.run(agent.ctl_command(*arguments)).stdout


class TestWatch:
    """`connections --watch`: again every second, until it is interrupted."""

    @pytest.fixture
    def server(self, mesh):
        programs.echo_server(mesh.pods["server"])
        return mesh.pods["server"]

    @contextlib.contextmanager
    def connection(self, mesh, server):
        with contextlib.closing(mesh.pods["client"].netns.socket()) as live:
            live.settimeout(scaled(5))
            live.connect((server.v4, 7002))
            live.sendall(b"x")
            assert live.recv(1) == b"x"
            yield live

    def watch(self, mesh, *options: str) -> run.Daemon:
        daemon = run.Daemon(mesh.a.agent.ctl_command("connections", "--watch", *options), mesh.directory / "watch.log")
        mesh.daemons.append(daemon)
        return daemon

    def interrupt(self, daemon: run.Daemon) -> None:
        daemon.signal(signal.SIGINT)
        assert daemon.wait(5) == 0

    def test_words_follow_a_connection_that_comes_and_goes(self, mesh, server):
        daemon = self.watch(mesh)
        wait_for(lambda: "No live connections." in daemon.output(), "the empty view")
        with self.connection(mesh, server):
            wait_for(lambda: f"{server.v4}:7002" in daemon.output(), "the connection to be shown")
            view = daemon.output()
            assert mesh.pods["client"].identity in view and server.identity in view and "AES-128-GCM" in view
        wait_for(lambda: daemon.output().endswith("No live connections.\n\n"), "the connection to go")
        self.interrupt(daemon)

    def test_json_is_one_object_a_line(self, mesh, server):
        daemon = self.watch(mesh, "--json")
        wait_for(lambda: daemon.output().endswith("\n"), "the empty view")
        with self.connection(mesh, server):
            wait_for(lambda: "7002" in daemon.output(), "the connection to be shown")
        wait_for(lambda: json.loads(daemon.output().splitlines()[-1])["connections"] == [], "the connection to go")
        self.interrupt(daemon)
        views = [json.loads(line)["connections"] for line in daemon.output().splitlines()]
        assert views[0] == []
        assert any(row["original_destination"] == f"{server.v4}:7002" for view in views for row in view)

    def test_it_ends_when_the_agent_does(self, mesh):
        daemon = self.watch(mesh)
        wait_for(lambda: daemon.output(), "the first view")
        mesh.a.agent.kill()
        assert daemon.wait(5) == 3
        assert "culvertctl: cannot reach the agent at" in daemon.output()


@pytest.mark.parametrize("as_json", [False, True])
def test_join_and_leave_say_which_pod(world, as_json):
    world.declare("client", "a", namespace="shop")
    world.a.agent.start()
    pod = world.add("client", chain="plain")
    agent = world.a.agent
    join = ("join", pod.netns.name, "--id", "mine", "--name", "client", "--namespace", "shop", "--service-account", "client")
    if as_json:
        joined = agent.ctl(*join)
        assert joined["id"] == "mine" and joined["identity"] == pod.identity
    else:
        assert words(agent, *join) == f"joined mine as {pod.identity}\n"
    [row] = agent.ctl("pods")
    assert row["id"] == "mine" and set(row["addresses"]) == {pod.v4, pod.v6}
    if as_json:
        assert agent.ctl("leave", pod.netns.name) == {"id": "mine"}
    else:
        assert words(agent, "leave", pod.netns.name) == "mine leaves the mesh; its live connections end by themselves\n"
    wait_for(lambda: not agent.ctl("pods"), "the pod to leave")


def test_join_and_leave_of_what_is_not_there_fail_and_say_so(world):
    world.a.agent.start()
    for command, message in (("join", "there is no network namespace at /"), ("leave", "no joined pod has the id or the network namespace there-is-none")):
        done = run.run(world.a.agent.ctl_command(command, "there-is-none"), check=False)
        assert done.returncode == 1 and not done.stdout and message in done.stderr, done


def test_preflight_needs_no_agent_and_says_what_to_do(world):
    """Words and JSON have the same lines; one that is not ok has a remedy."""
    command = world.a.netns.command([run.binary("culvertctl"), "preflight"])
    told = run.run([*command, "--json"])
    answer = json.loads(told.stdout)
    assert answer["usable"] is True
    assert {"kernel", "btf", "bpffs", "cgroup2", "capabilities"} <= {check["id"] for check in answer["checks"]}
    assert answer["ok"] + answer["degraded"] == len(answer["checks"]) and answer["missing"] == 0
    text = run.run(command).stdout
    for check in answer["checks"]:
        assert (check["verdict"] == "ok") != bool(check["remedy"]), check
        assert any(line.startswith(check["verdict"]) and check["title"] in line for line in text.splitlines()), check
    assert f"{answer['ok']} ok, {answer['degraded']} degraded, 0 missing" in text


def test_preflight_says_what_is_missing(world):
    """Without capabilities there is no agent: exit code 1, and the line that says why."""
    done = run.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", run.binary("culvertctl"), "preflight", "--json"], check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["usable"] is False
    [check] = [check for check in answer["checks"] if check["id"] == "capabilities"]
    assert check["verdict"] == "missing" and "CAP_BPF" in check["found"] + check["remedy"]


def check_config(path) -> tuple[int, str, str]:
    done = run.run([run.binary("culvertd"), "--check-config", str(path)], check=False)
    return done.returncode, done.stdout, done.stderr


def test_check_config_accepts_the_example_and_starts_nothing():
    example = run.ROOT / "docs/examples/node.yaml"
    assert check_config(example) == (0, f"{example}: ok\n", "")


def test_check_config_names_file_line_field_value_and_remedy(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text("node_name: a\ntunnel:\n  pool:\n    idle_timeout: 5\nlog:\n  levle: info\nmesh:\n  peer_authentication: strict\n")
    status, _, told = check_config(path)
    assert status == 1
    assert told.splitlines() == [
        f'culvertd: {path}:4:19: tunnel.pool.idle_timeout: "5" is not a duration; write a whole number and one of ms, s, m, h, such as 30s',
        f'{path}:6:3: log: unknown key "levle"; did you mean level?',
        f'{path}:8:24: mesh.peer_authentication: "strict" is not known; write PERMISSIVE or STRICT']


@pytest.mark.parametrize("option", ["--config", "--check-config"])
def test_an_empty_name_of_a_file_is_wrong_usage_and_starts_nothing(option):
    """A variable that is not set, in a unit or a script."""
    done = run.run([run.binary("culvertd"), option, ""], check=False)
    assert done.returncode != 0 and "the name of the file is empty" in done.stderr, done


def test_output_that_is_lost_is_a_failure(mesh):
    """Beyond the buffer what is lost is lost before the last flush."""
    assert len(words(mesh.a.agent, "config-dump")) > 4096
    with open("/dev/full", "w") as full:
        done = subprocess.run(mesh.a.agent.ctl_command("config-dump"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1, done


def test_check_config_names_a_file_that_is_not_there(tmp_path):
    status, _, told = check_config(tmp_path / "absent.yaml")
    assert status == 1 and f"{tmp_path}/absent.yaml: No such file or directory" in told
