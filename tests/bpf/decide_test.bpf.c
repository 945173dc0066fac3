/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision functions behind SEC("syscall"), for BPF_PROG_TEST_RUN: the hooks that use them cannot be test-run themselves
 * (cgroup/connect and sockops answer -524).
 */
#include "lib/bpf.bpf.h"
#include "lib/decide.bpf.h"

char cv_license[] SEC("license") = "Dual BSD/GPL";

struct connect_run {
  __u32 flags, is_local, is_excluded, way;
};
SEC("syscall")
int cv_t_connect(struct connect_run* run) {
  run->way = cv_connect_way(run->flags, (int)run->is_local, (int)run->is_excluded);
  return 0;
}

struct lookup_run {
  struct cv_lookup_facts facts;
  __u32 way;
};
SEC("syscall")
int cv_t_lookup(struct lookup_run* run) {
  const struct cv_lookup_facts facts = run->facts;
  run->way = cv_lookup_way(&facts);
  return 0;
}

struct egress_sock_run {
  struct cv_egress_sock sock;
  __u32 way;
};
SEC("syscall")
int cv_t_sock(struct egress_sock_run* run) {
  const struct cv_egress_sock sock = run->sock;
  run->way = cv_egress_by_sock(&sock);
  return 0;
}

struct egress_packet_run {
  struct cv_egress_packet packet;
  __u32 act, kind;
  __s32 counter;
};
SEC("syscall")
int cv_t_packet(struct egress_packet_run* run) {
  const struct cv_egress_packet packet = run->packet;
  const struct cv_egress_verdict verdict = cv_egress_by_packet(&packet);
  run->act = verdict.act;
  run->kind = verdict.kind;
  run->counter = verdict.counter;
  return 0;
}
