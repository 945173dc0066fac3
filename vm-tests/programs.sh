# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced in the guest: unpacks its disk, and runs Catch2 programs one after the other, or tests of the netns suite, with reports
# beside each other. A program that says 77 cannot run here; the reader of the reports counts it as skipped.

# unpack_disk: the programs, libraries, Python and tests of the guest's disk (scripts/suites/vm_disk.py) come first from here on.
# Once for a boot.
unpack_disk() {
  local hot=/tmp/hot directory
  modprobe virtio_blk || return 1
  mkdir -p "$hot"
  tar -xf /dev/vda -C "$hot" || return 1
  for directory in "$hot"/usr/lib/python3.* "$hot/usr/lib/python3/dist-packages"; do
    mount --bind "$directory" "${directory#"$hot"}" || return 1
  done
  mount --bind "$hot/tests" "$CULVERT_SOURCE/tests" || return 1
  export PATH=$hot/bin:$PATH LD_LIBRARY_PATH=$hot/lib CULVERT_CNI_PATH=$hot/bin CULVERT_BUILD=$hot CULVERT_SLOW_MACHINE=1
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

# run_netns REPORT MARK PYTEST-ARGUMENTS...: tests of the netns suite with that mark.
run_netns() {
  local report=$1 mark=$2 module
  shift 2
  for module in tls sch_ingress cls_bpf veth bridge; do modprobe "$module"; done
  ip link set lo up
  export CULVERT_KERNEL_TLS=required  # Debian's kernels have it: tests of it do not vanish where its module is not found
  cd "$CULVERT_SOURCE" || return 1
  PYTHONDONTWRITEBYTECODE=1 python3 -m pytest -p no:cacheprovider -q --durations=10 --junitxml="$CASE_RESULTS/$report.junit.xml" \
    -m "$mark" "$@" tests/netns
}
