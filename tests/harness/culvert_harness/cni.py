# SPDX-License-Identifier: Apache-2.0
"""A CNI network called as a container runtime's libcni calls it: the plugins of a list in order, each given its predecessor's
result; the last result is kept and handed to CHECK and DEL; DEL goes backwards. An ADD that fails is followed by DEL."""

import json
import os
import pathlib
import subprocess
import time

from . import run

PLUGIN_DIRS = (*filter(None, os.environ.get("CULVERT_CNI_PATH", "").split(":")), "/usr/lib/cni", "/opt/cni/bin")
LIBRARIES = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
TRY_AGAIN_LATER = 11  # CNI spec, "Well-known error codes"


class CniError(Exception):
    """A plugin's error answer."""

    def __init__(self, plugin: str, command: str, code: int, message: str, details: str, seconds: float):
        super().__init__(f"{plugin} {command}: code {code}: {message} {details}".strip())
        self.plugin, self.command, self.code, self.message, self.details, self.seconds = plugin, command, code, message, details, seconds


def call(plugin: str, command: str, config: dict, *, nsenter: list[str] = (), env: dict[str, str] | None = None,
         timeout: float = 60.0, first: str = "") -> tuple[dict | None, float]:
    """One call of one plugin: its JSON answer (None when it printed nothing) and the seconds it took. `first`: a directory to look into first."""
    path = find(plugin, first)
    started = time.monotonic()
    done = subprocess.run([*nsenter, path], input=json.dumps(config), capture_output=True, text=True, check=False,
                          timeout=run.scaled(timeout), env={"PATH": os.environ["PATH"], "CNI_COMMAND": command, **LIBRARIES, **(env or {})})
    seconds = time.monotonic() - started
    answer = None
    if done.stdout.strip():
        answer = json.loads(done.stdout)
    if done.returncode != 0:
        answer = answer or {}
        raise CniError(plugin, command, int(answer.get("code", -1)), answer.get("msg", f"status {done.returncode}, no answer"),
                       answer.get("details", "") or done.stderr.strip(), seconds)
    return answer, seconds


def find(plugin: str, first: str = "") -> str:
    for directory in (*filter(None, [first]), *PLUGIN_DIRS, str(run.build_dir() / "bin")):
        path = pathlib.Path(directory, plugin)
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"CNI plugin {plugin} is in none of {PLUGIN_DIRS}: scripts/setup installs containernetworking-plugins")


class Chain:
    """One network of one node. `nsenter` puts the plugins into the node's namespace; `bin_dir` is the node's own directory of plugins, if it has one."""

    def __init__(self, conflist: dict, cache_dir: pathlib.Path, nsenter: list[str], *, bin_dir: str = ""):
        self.conflist, self.cache_dir, self.nsenter, self.bin_dir = conflist, cache_dir, nsenter, bin_dir
        cache_dir.mkdir(parents=True, exist_ok=True)
        self.last_seconds: dict[str, float] = {}  # by plugin type, of the last command

    def _env(self, container_id: str, netns: str, args: dict[str, str], ifname: str) -> dict[str, str]:
        return {"CNI_CONTAINERID": container_id, "CNI_NETNS": netns, "CNI_IFNAME": ifname,
                "CNI_ARGS": ";".join(f"{key}={value}" for key, value in args.items()),
                "CNI_PATH": ":".join([*filter(None, [self.bin_dir]), *PLUGIN_DIRS, str(run.build_dir() / "bin")])}

    def _config(self, plugin: dict, previous: dict | None, extra: dict | None) -> dict:
        config = {**plugin, "name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"]}
        if previous is not None:
            config["prevResult"] = previous
        if extra:
            config["args"] = extra
        return config

    def _cached(self, container_id: str) -> pathlib.Path:
        return self.cache_dir / f"{self.conflist['name']}-{container_id}.json"

    def add(self, container_id: str, netns: str, args: dict[str, str], *, extra_args: dict | None = None, ifname: str = "eth0",
            clean_up: bool = True) -> dict:
        result: dict | None = None
        env = self._env(container_id, netns, args, ifname)
        self.last_seconds = {}
        try:
            for plugin in self.conflist["plugins"]:
                result, seconds = call(plugin["type"], "ADD", self._config(plugin, result, extra_args), nsenter=self.nsenter, env=env, first=self.bin_dir)
                self.last_seconds[plugin["type"]] = seconds
        except CniError:
            if clean_up:
                self.delete(container_id, netns, args, ifname=ifname)
            raise
        self._cached(container_id).write_text(json.dumps({"result": result, "netns": netns, "args": args}))
        return result or {}

    def check(self, container_id: str, netns: str, args: dict[str, str], *, ifname: str = "eth0") -> None:
        previous = json.loads(self._cached(container_id).read_text())["result"]
        env = self._env(container_id, netns, args, ifname)
        for plugin in self.conflist["plugins"]:
            call(plugin["type"], "CHECK", self._config(plugin, previous, None), nsenter=self.nsenter, env=env, first=self.bin_dir)

    def delete(self, container_id: str, netns: str, args: dict[str, str], *, ifname: str = "eth0") -> None:
        cached = self._cached(container_id)
        previous = json.loads(cached.read_text())["result"] if cached.exists() else None
        env = self._env(container_id, netns, args, ifname)
        for plugin in reversed(self.conflist["plugins"]):
            call(plugin["type"], "DEL", self._config(plugin, previous, None), nsenter=self.nsenter, env=env, first=self.bin_dir)
        cached.unlink(missing_ok=True)
