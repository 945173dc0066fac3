/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Held SYNs: what the filter on the agent's outbound listeners tells the worker that owns the listener. These maps belong to one agent
 * and are not pinned: they and the filters go with its listeners.
 */
#ifndef CULVERT_ABI_SYN_H
#define CULVERT_ABI_SYN_H

#include "culvert/abi/maps.h"

#define CV_WORKERS_MAX 256
/* Listeners that hold: two a pod and worker. One that is not noted answers at once. */
#define CV_SYN_LISTENERS_MAX 65536
/* Of one worker; some 800 SYNs. What does not fit is answered at once. A power of two, of whole pages. */
#define CV_SYN_RING_BYTES 65536
/* An IPv4 and a TCP header with all the options that they can have; IPv6 with extension headers is answered at once. */
#define CV_SYN_PACKET_BYTES_MAX 120
/*
 * skb->priority of a SYN that the agent sends again. Whoever else sets it (above 6 takes CAP_NET_RAW or CAP_NET_ADMIN) has a connection of its own
 * answered at once, no more: what the agent accepts it judges in any case.
 */
#define CV_SYN_PRIORITY 0x43560001U

struct cv_syn_listener {
  __u32 slot;
  __u32 worker;
};
CV_ABI_SIZE(struct cv_syn_listener, 8);

/* In the ring; as long as its packet. */
struct cv_syn_event {
  __u32 slot;
  __u32 packet_bytes;
  __u8 packet[CV_SYN_PACKET_BYTES_MAX]; /* from the IP header on, without payload; checksums may be unfinished */
};
CV_ABI_SIZE(struct cv_syn_event, 128);
#define CV_SYN_EVENT_HEADER_BYTES 8U

#endif
