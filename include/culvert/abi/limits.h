/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Limits and constants that the BPF programs and the agent share. Read by clang for BPF (C) and by the agent's C++ compiler.
 * Every map is bounded by one of these; what happens at the limit is written beside the map (bpf/lib/maps.bpf.h).
 */
#ifndef CULVERT_ABI_LIMITS_H
#define CULVERT_ABI_LIMITS_H

/* Raised whenever a map's key, value, size or meaning changes: an agent refuses pins of another version. */
#define CV_ABI_VERSION 2

/* Slot 0 means "no pod", so a node holds 1023 pods. */
#define CV_POD_SLOTS_MAX 1024
/* A pod has at most CV_POD_ADDRS_MAX / pods addresses on average; two (IPv4 and IPv6) are usual. */
#define CV_POD_ADDRS_MAX 4096
#define CV_EXCL_PORTS_MAX 16384
#define CV_EXCL_CIDRS_MAX 16384
/* Connections of the node's own processes to pods, remembered from their SYN on. */
#define CV_NODE_CONNS_MAX 16384
/* A SYN is retransmitted for 127 s with Linux's default of six retries; after that an entry no longer counts. */
#define CV_NODE_CONN_AGE_NS_MAX (130ULL * 1000 * 1000 * 1000)

/* The agent's ports in a pod. Outbound and inbound listen on loopback and are reached through sk_lookup alone. */
#define CV_PORT_OUTBOUND 15001
#define CV_PORT_INBOUND 15006
#define CV_PORT_TUNNEL 15008
/* On loopback, for questions that pods send to port 53. */
#define CV_PORT_DNS 15053

/* lo is the first device of every network namespace and cannot be removed. */
#define CV_LO_IFINDEX 1

/*
 * Stands for the slot in the templates of the per-pod programs; the agent replaces the one instruction that loads it.
 * Arbitrary, but no valid slot and no plausible constant.
 */
#define CV_SLOT_TEMPLATE 0x43554c5645525431ULL

#endif
