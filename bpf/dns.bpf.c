/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cgroup/sendmsg4/6 and recvmsg4/6, on the root of the cgroup2 tree, where DNS is captured: questions of UDP sockets that are not connected, and
 * the sender that answers show. Questions of connected sockets, UDP and TCP, are steered by connect (connect.bpf.c). Always lets the packet go.
 */
#include "lib/dns.bpf.h"

SEC("cgroup/sendmsg4")
int cv_sendmsg4(struct bpf_sock_addr* ctx) {
  cv_dns_steer_v4(ctx);
  return 1;
}

SEC("cgroup/sendmsg6")
int cv_sendmsg6(struct bpf_sock_addr* ctx) {
  cv_dns_steer_v6(ctx);
  return 1;
}

SEC("cgroup/recvmsg4")
int cv_recvmsg4(struct bpf_sock_addr* ctx) {
  const struct cv_addr from = cv_addr_v4(ctx->user_ip4);
  const struct cv_addr* server = cv_dns_asked(ctx, &from);
  if (!server) return 1;
  ctx->user_ip4 = server->words[3];
  ctx->user_port = bpf_htons(CV_DNS_SERVER_PORT);
  return 1;
}

SEC("cgroup/recvmsg6")
int cv_recvmsg6(struct bpf_sock_addr* ctx) {
  const struct cv_addr from = cv_addr_v6(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
  const struct cv_addr* server = cv_dns_asked(ctx, &from);
  if (!server) return 1;
  ctx->user_ip6[0] = server->words[0];
  ctx->user_ip6[1] = server->words[1];
  ctx->user_ip6[2] = server->words[2];
  ctx->user_ip6[3] = server->words[3];
  ctx->user_port = bpf_htons(CV_DNS_SERVER_PORT);
  return 1;
}
