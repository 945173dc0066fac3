# SPDX-License-Identifier: Apache-2.0
"""The recipe of docs/testing.md, line for line, in namespaces that somebody else made."""

import re

from culvert_harness import programs, run, wait_for

def recipe() -> str:
    text = (run.ROOT / "docs/testing.md").read_text()
    section = text.split("## Two agents in your own harness")[1]
    return re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]


def test_the_recipe_for_outside_harnesses_works_as_written(world):
    world.declare("a", "a")
    world.declare("b", "b")
    pod_a, pod_b = world.add("a", chain="plain"), world.add("b", chain="plain")
    assert (pod_a.v4, pod_b.v4) == ("10.1.0.10", "10.2.0.10"), "the recipe's addresses"
    programs.nginx(pod_b, {"index.html": b"reached through the mesh"})
    work = world.directory / "outside"
    work.mkdir()
    script = recipe()
    # Only names change: the namespaces, the directory, the pins and the build.
    for letter, pod in (("A", pod_a), ("B", pod_b)):
        script = script.replace(f"/run/netns/pod{letter}", pod.netns.path)
    script = script.replace("/run/netns/node$n", f"/run/netns/{world.prefix}$(echo $n | tr AB ab)")
    script = script.replace("/tmp/cv", str(work / "cv")).replace("/sys/fs/bpf/cv", f"/sys/fs/bpf/{world.prefix}x")
    script = script.replace("build/release/bin", str(run.build_dir() / "bin"))
    capture = world.capture()
    (work / "cv").mkdir()
    (work / "recipe.sh").write_text(script)
    shell = run.Daemon(["bash", str(work / "recipe.sh")], work / "recipe.log")
    world.daemons.append(shell)
    try:
        wait_for(lambda: "reached through the mesh" in shell.output(), "the recipe's curl to be answered", 30)
    except AssertionError as error:
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(work.glob("*.log")))
        raise AssertionError(f"{error}\n{logs}") from None
    capture.stop()
    capture.assert_only_tunnels(pod_a.v4)
