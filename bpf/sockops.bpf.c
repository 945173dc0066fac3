/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sockops, on the root of the cgroup2 tree. Remembers the connections of the node's own processes (kubelet probes) to pods before
 * their SYN arrives, so that sk_lookup in the pod passes them to the application: told by the node's namespace, not by an
 * address that anyone may use. Also gives the state "captured" to an application's accepted socket whose client the agent
 * speaks for, so that it stays bound to lo when the application clears its mark.
 */
#include "lib/sockops.bpf.h"

SEC("sockops")
int cv_sockops(struct bpf_sock_ops* ctx) {
  switch (ctx->op) {
    case BPF_SOCK_OPS_TCP_CONNECT_CB: cv_remember_connect(ctx); break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB: cv_capture_accepted(ctx); break;
    default: break;
  }
  return 1;
}
