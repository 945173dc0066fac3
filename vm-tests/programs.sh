# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced in the guest: keeps programs in memory, and runs Catch2 programs one after the other, or tests of the netns suite, with reports beside each
# other. A program that says 77 cannot run here; the reader of the reports counts it as skipped.

# hot_copies PROGRAM...: copies programs and their libraries into memory and puts them first. Every exec from the shared root
# asks the host for each path and page anew, which is most of a small program's time in a guest.
hot_copies() {
  local program path
  mkdir -p /tmp/hot/bin /tmp/hot/lib
  for program in "$@"; do
    path=$(command -v "$program") || continue
    cp -L "$path" /tmp/hot/bin/
    ldd "$path" 2>/dev/null | sed -nE 's/.*=> (\/[^ ]+) .*/\1/p'
  done | sort -u | xargs -r cp -L -t /tmp/hot/lib
  export PATH=/tmp/hot/bin:$PATH LD_LIBRARY_PATH=/tmp/hot/lib CULVERT_CNI_PATH=/tmp/hot/bin
}

run_catch_programs() {
  local program name status failures=0
  for program in "$@"; do
    name=$(basename "$program")
    if [ ! -x "$program" ]; then
      echo "not ok $name: the program is built ($program is missing)"
      failures=1
      continue
    fi
    timeout 900 "$program" -d yes -r xml -o "$CASE_RESULTS/$name.catch.xml"
    status=$?
    echo "status $name $status"
    [ "$status" = 0 ] || [ "$status" = 77 ] || failures=1
  done
  return "$failures"
}

# run_netns REPORT PYTEST-ARGUMENTS...: tests of the netns suite.
run_netns() {
  local report=$1
  shift
  hot_copies nsenter ip tcpdump curl nginx cat sh bash /usr/lib/cni/ptp /usr/lib/cni/host-local \
    "$CULVERT_BUILD"/bin/{culvertd,culvertctl,culvert-cni,flowtool}
  export CULVERT_BUILD=/tmp/hot
  for module in tls sch_ingress cls_bpf veth bridge; do modprobe "$module"; done
  ip link set lo up
  cd "$CULVERT_SOURCE" || return 1
  export PYTHONDONTWRITEBYTECODE=1 CULVERT_SLOW_MACHINE=1
  /usr/bin/python3 -m pytest -p no:cacheprovider -q --junitxml="$CASE_RESULTS/$report.junit.xml" "$@"
}
