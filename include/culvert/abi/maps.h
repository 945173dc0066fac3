/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Keys and values of the BPF maps, in C that clang for BPF and the agent's compiler lay out alike: fixed sizes, no padding, no
 * union in a key. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are in host order.
 */
#ifndef CULVERT_ABI_MAPS_H
#define CULVERT_ABI_MAPS_H

#include <linux/types.h>

#include "culvert/abi/counters.h"
#include "culvert/abi/limits.h"

#ifdef __cplusplus
#define CV_ABI_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type " changed its layout")
#else
#define CV_ABI_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its layout")
#endif

struct cv_addr {
  __u32 words[4]; /* network order */
};
CV_ABI_SIZE(struct cv_addr, 16);

/* What a socket is to the capture, kept in its socket storage; a pod cannot write it. */
enum cv_sock_kind {
  CV_SOCK_NONE = 0,
  CV_SOCK_AGENT = 1, /* the agent's own; inherited by what an agent's listener accepts */
  CV_SOCK_CAPTURED =
      2, /* every packet goes to the agent or is dropped, for the socket's life or until it connects anew */
  CV_SOCK_DIRECT = 3, /* left alone: excluded, or older than the enrolment */
};

struct cv_sock_state {
  __u32 kind;        /* enum cv_sock_kind */
  __u32 mark_before; /* the socket's mark before it was captured, put back when a later connect is not */
};
CV_ABI_SIZE(struct cv_sock_state, 8);

#define CV_POD_ACTIVE 0x1U         /* hooks decide for this pod; unset: every decision is "pass" */
#define CV_POD_LEAVING 0x2U        /* new connections pass, captured sockets stay captured */
#define CV_POD_BYPASS_INBOUND 0x4U /* plaintext from outside is not taken */
#define CV_POD_EXCL_OUT 0x8U       /* there are outbound exclusions to look up */
#define CV_POD_EXCL_IN 0x10U
#define CV_POD_DNS 0x20U /* questions to port 53 go to the agent, while it listens for them */

struct cv_pod {
  __u64 netns_cookie; /* 0: the slot is free */
  __u32 flags;        /* CV_POD_* */
  __u32 zero;
};
CV_ABI_SIZE(struct cv_pod, 16);

#define CV_DIRECTION_OUT 0U
#define CV_DIRECTION_IN 1U

struct cv_port_key {
  __u32 slot;
  __u16 port;
  __u16 direction; /* CV_DIRECTION_* */
};
CV_ABI_SIZE(struct cv_port_key, 8);

struct cv_cidr_key {
  __u32 prefix_bits; /* CV_CIDR_FIXED_BITS + the bits of the v4-mapped address */
  __u32 slot;
  __u32 direction;
  struct cv_addr addr;
};
CV_ABI_SIZE(struct cv_cidr_key, 28);
#define CV_CIDR_FIXED_BITS 64U
#define CV_CIDR_BITS_MAX (CV_CIDR_FIXED_BITS + 128U)

/* A connection as its first packet shows it. */
struct cv_tuple {
  struct cv_addr source;
  struct cv_addr destination;
  __u16 source_port;
  __u16 destination_port;
};
CV_ABI_SIZE(struct cv_tuple, 36);

/* cv_listeners: the index of {slot, role, family}. */
#define CV_LISTENER_OUTBOUND 0U
#define CV_LISTENER_INBOUND 1U
#define CV_LISTENER_V4 0U
#define CV_LISTENER_V6 1U
#define CV_LISTENER_INDEX(slot, role, family) ((slot) * 4U + (role) * 2U + (family))
#define CV_LISTENERS_MAX (CV_POD_SLOTS_MAX * 4U)

struct cv_pod_counters {
  __u64 values[CV_COUNTERS]; /* by enum cv_counter */
};

/* cv_programs: what the small per-pod programs jump to. */
#define CV_PROGRAM_EGRESS 0U
#define CV_PROGRAMS 1U
/* Where tc egress finds the slot: the word of skb->cb that the per-pod program writes before it jumps. */
#define CV_CB_SLOT 0

/* One element: written when the maps are made, compared when they are found again. */
struct cv_abi_record {
  __u32 version; /* CV_ABI_VERSION */
  __u32 mark;    /* live captured sockets carry it: an agent with another mark must not take over */
  __u32 route_table;
  __u32 rule_priority;
};
CV_ABI_SIZE(struct cv_abi_record, 16);

/* What a pod's namespace was like before the agent prepared it. No program reads it; it is pinned so that any agent can undo. */
struct cv_pod_undo {
  __u32 is_prepared;
  __s32 accept_local; /* sysctls: the value before, or -1 where there is none */
  __s32 tcp_fwmark_accept;
  __s32 fwmark_reflect_v4;
  __s32 fwmark_reflect_v6;
  __u32 gso_max_bytes; /* segment sizes of lo: before, or 0 where the kernel has none */
  __u32 gro_max_bytes;
  __u32 gso_v4_max_bytes;
  __u32 gro_v4_max_bytes;
  __u32 owns_clsact; /* the agent made the clsact qdiscs: they go when the pod leaves */
};
CV_ABI_SIZE(struct cv_pod_undo, 40);

#endif
