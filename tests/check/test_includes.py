# SPDX-License-Identifier: Apache-2.0
"""Who may include what: modules depend downwards, each library has its owner, each header stands by itself."""

import concurrent.futures
import os
import re
import subprocess

import pytest
import sources

# A module may include itself and these. The order of the arrows is in docs/architecture.md.
ARROWS = {
    "base": "",
    "core": "base",
    "state": "base",
    "tls": "base core",
    "hbone": "base core",
    "dns": "base core state",
    "direct": "base core",
    "telemetry": "base core",
    "policy": "base state",
    "datapath": "base core",
    "enroll": "base core datapath",
    "control": "base core state policy tls telemetry",
    "admin": "base core state telemetry",
    "proxy": "base core tls hbone direct telemetry state policy datapath enroll",
    "ctl": "base core tls telemetry datapath admin control",
    "app": "base core tls hbone dns direct telemetry state policy datapath enroll control admin proxy",
    "cni-plugin": "base enroll",
}

# A library's headers, and the modules that may see them.
LIBRARIES = {
    r"bpf/|.*\.skel\.h$": "datapath enroll",
    r"openssl/|intel-ipsec-mb\.h": "tls",
    r"nghttp2/": "hbone",
    r"ares\.h": "dns",
    r"grpc|google/protobuf/|proto/": "control",
    r"CLI/": "app ctl cni-plugin",
    r"yaml-cpp/": "control",
    r"microhttpd\.h": "admin",
    r"prometheus/": "telemetry admin app",
    r"zlib\.h": "admin",
    r"curl/": "control ctl",
    r"cap-ng\.h|seccomp\.h": "app ctl",
    r"spdlog/": "telemetry",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def module_of(path) -> str:
    parts = sources.relative(path).split("/")
    return "cni-plugin" if parts[0] == "cni-plugin" else parts[1]


def product_files():
    return [path for path in sources.below("userspace", "cni-plugin", suffixes=(".cpp", ".hpp", ".c", ".h"))]


def includes(path) -> list[str]:
    return INCLUDE.findall(path.read_text())


def test_modules_depend_downwards():
    problems = []
    for path in product_files():
        module = module_of(path)
        if module not in ARROWS:
            problems.append(f"{sources.relative(path)}: module {module} has no place in ARROWS of {__name__}.py")
            continue
        allowed = {module, *ARROWS[module].split()}
        for name in includes(path):
            top = name.split("/")[0]
            if "/" in name and top in ARROWS and top not in allowed:
                problems.append(f"{sources.relative(path)}: includes {name}; {module} may use {', '.join(sorted(allowed - {module})) or 'nothing'}")
    sources.tell(problems)


def test_each_library_is_seen_by_its_owner_only():
    problems = []
    for path in product_files():
        for name in includes(path):
            for pattern, owners in LIBRARIES.items():
                if re.match(pattern, name) and module_of(path) not in owners.split():
                    problems.append(f"{sources.relative(path)}: includes <{name}>, which is for {owners}")
    sources.tell(problems)


def test_shared_headers_of_the_kernel_are_c_and_include_only_each_other():
    problems = []
    for path in sources.below("include/culvert/abi", suffixes=(".h",)):
        for name in includes(path):
            if not name.startswith(("culvert/abi/", "linux/")):
                problems.append(f"{sources.relative(path)}: includes {name}")
    sources.tell(problems)


def test_the_relay_path_takes_no_lock():
    """Workers share nothing mutable on the data path. The exceptions are about handshakes, and say so at their heads."""
    problems = []
    for path in product_files():
        if sources.relative(path).startswith(("userspace/tls/resumption.", "userspace/tls/revocation.")):
            continue
        if module_of(path) in ("proxy", "direct", "tls") and re.search(r"std::(recursive_|shared_)?mutex\b", path.read_text()):
            problems.append(f"{sources.relative(path)} has a mutex")
    sources.tell(problems)


def stands_alone_already(header) -> bool:
    """A source that includes its own header first proves it at every build."""
    source = header.with_suffix(".cpp")
    if not source.exists():
        return False
    found = includes(source)
    return bool(found) and sources.relative(header).endswith("/" + found[0])


def test_headers_compile_alone():
    skeletons = [path for preset in ("dev", "release") if (path := sources.ROOT / "build" / preset / "bpf" / "skel").is_dir()]
    headers = [path for path in sources.below("userspace", "cni-plugin", "include", suffixes=(".hpp", ".h")) if not stands_alone_already(path)]
    command = ["g++", "-std=gnu++23", "-fsyntax-only", "-D_GNU_SOURCE", '-DCULVERT_VERSION="0"', "-Wall", "-Wextra", "-Werror",
               f"-I{sources.ROOT}/include", f"-I{sources.ROOT}/userspace", f"-I{sources.ROOT}/cni-plugin",
               *[f"-isystem{path}" for path in skeletons[:1]], "-x", "c++", "-"]

    def alone(header) -> str:
        done = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"{sources.relative(header)}:\n" + "\n".join(done.stderr.splitlines()[:6])

    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        sources.tell([problem for problem in pool.map(alone, headers) if problem])


@pytest.mark.parametrize("header", ["include/culvert/abi/limits.h", "include/culvert/abi/counters.h", "include/culvert/abi/maps.h"])
def test_kernel_headers_compile_as_c(header):
    done = subprocess.run(["gcc", "-std=c11", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{sources.ROOT}/include", "-x", "c", "-"],
                          input=f'#include "{sources.ROOT}/{header}"\n', capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
