/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Addresses as values: 16 bytes in network order, IPv4 mapped into IPv6, so that every key and every decision knows one family.
 * Also compiled on the host by tests/unit/bpf.
 */
#ifndef CULVERT_BPF_ADDR_H
#define CULVERT_BPF_ADDR_H

#include <bpf/bpf_endian.h>

#include "culvert/abi/maps.h"

#define CV_IPPROTO_TCP 6
#define CV_IPPROTO_UDP 17

static __always_inline struct cv_addr cv_addr_v4(__u32 network_order) {
  struct cv_addr addr = {{0, 0, bpf_htonl(0xffff), network_order}};
  return addr;
}

static __always_inline struct cv_addr cv_addr_v6(__u32 word0, __u32 word1, __u32 word2, __u32 word3) {
  struct cv_addr addr = {{word0, word1, word2, word3}};
  return addr;
}

static __always_inline int cv_addr_is_v4(const struct cv_addr* addr) {
  return addr->words[0] == 0 && addr->words[1] == 0 && addr->words[2] == bpf_htonl(0xffff);
}

/* 127.0.0.0/8, its mapped form, and ::1. */
static __always_inline int cv_addr_is_loopback(const struct cv_addr* addr) {
  if (cv_addr_is_v4(addr)) return (addr->words[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
  return addr->words[0] == 0 && addr->words[1] == 0 && addr->words[2] == 0 && addr->words[3] == bpf_htonl(1);
}

/* 0.0.0.0, its mapped form, and ::; a connect there goes to loopback. */
static __always_inline int cv_addr_is_unspecified(const struct cv_addr* addr) {
  return (cv_addr_is_v4(addr) || (addr->words[0] == 0 && addr->words[1] == 0 && addr->words[2] == 0)) &&
         addr->words[3] == 0;
}

#endif
