/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A pod's facts in the maps: its own addresses, its exclusions, its counters, and the slot that is built into the per-pod
 * programs.
 */
#ifndef CULVERT_BPF_POD_H
#define CULVERT_BPF_POD_H

#include "lib/addr.bpf.h"
#include "lib/maps.bpf.h"

/*
 * The slot of the pod to which this program is attached. The agent loads the program once per pod and replaces this one 64-bit
 * immediate (userspace/datapath/bpf_object.cpp): no lookup of "which pod am I" per packet, on any kernel.
 */
static __always_inline __u32 cv_own_slot(void) {
  __u64 slot;
  asm volatile("%0 = %1 ll" : "=r"(slot) : "i"(CV_SLOT_TEMPLATE));
  return (__u32)slot;
}

static __always_inline void cv_count(__u32 slot, enum cv_counter counter) {
  struct cv_pod_counters* counters = bpf_map_lookup_elem(&cv_counters, &slot);
  if (counters && (__u32)counter < CV_COUNTERS) counters->values[counter]++;
}

static __always_inline int cv_is_own_addr(__u32 slot, const struct cv_addr* addr) {
  const __u32* owner = bpf_map_lookup_elem(&cv_pod_addrs, addr);
  return owner && *owner == slot;
}

/* The flags spare the lookups where a pod has no exclusions, which is the rule. `address` is the other end, `port` the server's. */
static __always_inline int cv_is_excluded(__u32 slot, __u32 pod_flags, __u32 direction, const struct cv_addr* address,
                                          __u16 port) {
  if (!(pod_flags & (direction == CV_DIRECTION_OUT ? CV_POD_EXCL_OUT : CV_POD_EXCL_IN))) return 0;
  struct cv_port_key port_key = {.slot = slot, .port = port, .direction = (__u16)direction};
  if (bpf_map_lookup_elem(&cv_excl_ports, &port_key)) return 1;
  struct cv_cidr_key cidr_key = {
      .prefix_bits = CV_CIDR_BITS_MAX, .slot = slot, .direction = direction, .addr = *address};
  return bpf_map_lookup_elem(&cv_excl_cidrs, &cidr_key) != 0;
}

#endif
