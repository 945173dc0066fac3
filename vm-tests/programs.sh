# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced in the guest: runs Catch2 programs one after the other, each with its report beside the others. A program that
# says 77 cannot run here; the reader of the reports counts it as skipped.

run_catch_programs() {
  local program name status failures=0
  for program in "$@"; do
    name=$(basename "$program")
    if [ ! -x "$program" ]; then
      echo "not ok $name: the program is built ($program is missing)"
      failures=1
      continue
    fi
    timeout 300 "$program" -d yes -r xml -o "$CASE_RESULTS/$name.catch.xml"
    status=$?
    echo "status $name $status"
    [ "$status" = 0 ] || [ "$status" = 77 ] || failures=1
  done
  return "$failures"
}
