/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every map, once; weak, so that each hook's object may define them and the linked object holds one of each. All are pinned by
 * the agent (userspace/datapath/pin_plan.hpp) and found again by the next one. With each: key -> value; who writes; who
 * reads; what bounds it and what happens at the bound.
 */
#ifndef CULVERT_BPF_MAPS_H
#define CULVERT_BPF_MAPS_H

#include "lib/bpf.bpf.h"

#include "culvert/abi/maps.h"

/*
 * socket -> cv_sock_state. Written by the agent (its own sockets, by descriptor), by connect and sockops and tc egress (captured,
 * direct). Read by connect, sockops, tc egress. Lives and dies with the socket; a listener's is copied to what it accepts.
 * Where no storage can be had (the socket's option memory is used up) the mark still steers and tc egress still redirects.
 */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
  __type(key, int);
  __type(value, struct cv_sock_state);
} cv_sock_state __weak SEC(".maps");

/*
 * UDP socket -> the DNS server that it asked last. Written by connect and sendmsg, which send the question to loopback; read by recvmsg, which gives the
 * answer the name that the application expects. Lives and dies with the socket. Where no storage can be had the question is left alone.
 */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct cv_addr);
} cv_dns_servers __weak SEC(".maps");

/*
 * netns cookie -> slot. Written by the agent when a pod joins (last) and leaves (first). Read by connect, setsockopt, sockops. One entry a pod:
 * a node takes 1023 pods, the next join is refused.
 */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CV_POD_SLOTS_MAX);
  __type(key, __u64);
  __type(value, __u32);
} cv_pod_slots __weak SEC(".maps");

/* slot -> cv_pod. Written by the agent. Read by every program. An array: always there, zero means "no pod". */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, CV_POD_SLOTS_MAX);
  __type(key, __u32);
  __type(value, struct cv_pod);
} cv_pods __weak SEC(".maps");

/*
 * address -> slot. Written by the agent. Read by connect (own addresses), sockops (the node's connections to pods), sk_lookup.
 * Bounded by CV_POD_ADDRS_MAX: a join beyond it is refused.
 */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CV_POD_ADDRS_MAX);
  __type(key, struct cv_addr);
  __type(value, __u32);
} cv_pod_addrs __weak SEC(".maps");

/* {slot, port, direction} -> 1. Written by the agent. Read by connect, sk_lookup, tc egress. At the bound a join is refused. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CV_EXCL_PORTS_MAX);
  __type(key, struct cv_port_key);
  __type(value, __u32);
} cv_excl_ports __weak SEC(".maps");

/* {slot, direction, range} -> 1. Written by the agent. Read by connect, sk_lookup, tc egress. At the bound a join is refused. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CV_EXCL_CIDRS_MAX);
  __type(key, struct cv_cidr_key);
  __type(value, __u32);
} cv_excl_cidrs __weak SEC(".maps");

/*
 * {slot, role, family} -> listening socket. Written by the agent; an entry goes away when its socket closes, and a captured
 * connection then finds nothing and is dropped. Read by sk_lookup. Only plain listeners are ever put here: what enters a
 * sockmap can carry no kernel TLS afterwards.
 */
struct {
  __uint(type, BPF_MAP_TYPE_SOCKMAP);
  __uint(max_entries, CV_LISTENERS_MAX);
  __type(key, __u32);
  __type(value, __u64);
} cv_listeners __weak SEC(".maps");

/*
 * connection of a node's own process to a pod -> when it was opened (CLOCK_MONOTONIC, ns). Written by sockops. Read by sk_lookup, which passes
 * it. Least recently used go first; one evicted before its SYN arrived is treated as from outside, which is the strict side.
 */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, CV_NODE_CONNS_MAX);
  __type(key, struct cv_tuple);
  __type(value, __u64);
} cv_node_conns __weak SEC(".maps");

/* slot -> cv_pod_counters, one per CPU. Written by every program. Read, and zeroed when a slot is given anew, by the agent. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, CV_POD_SLOTS_MAX);
  __type(key, __u32);
  __type(value, struct cv_pod_counters);
} cv_counters __weak SEC(".maps");

/*
 * CV_PROGRAM_* -> program. Written by the agent at start: one update gives every pod the new agent's program at once. Read by the
 * tail call of tc egress. Pinned, because the kernel empties a program array that no process and no pin holds.
 */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, CV_PROGRAMS);
  __type(key, __u32);
  __type(value, __u32);
} cv_programs __weak SEC(".maps");

/* 0 -> cv_abi_record. Written by the agent that made the maps, read by the one that finds them. No program reads it. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct cv_abi_record);
} cv_abi __weak SEC(".maps");

/* slot -> cv_pod_undo. Written when a pod's namespace is prepared, read when it leaves; by the agent only. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, CV_POD_SLOTS_MAX);
  __type(key, __u32);
  __type(value, struct cv_pod_undo);
} cv_pod_undo __weak SEC(".maps");

/* Set before loading. */
const volatile __u32 cv_mark __weak = 0;              /* the mark that routes a packet over lo */
const volatile __u64 cv_node_netns_cookie __weak = 0; /* the node's own namespace; 0: nothing is the node's */

char cv_license[] SEC("license") __weak = "Dual BSD/GPL";

#endif
