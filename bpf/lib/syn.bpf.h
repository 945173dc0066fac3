/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Decides whether a SYN is held, and tells the agent of it; see syn.bpf.c. */
#ifndef CULVERT_BPF_SYN_H
#define CULVERT_BPF_SYN_H

#include <linux/if_ether.h>

#include "lib/bpf.bpf.h"

#include "culvert/abi/syn.h"

/*
 * cookie of a listener -> who it belongs to. Written by the worker that owns the listener. Read by the filter. Not pinned. Bounded:
 * a listener that finds no place holds nothing.
 */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, CV_SYN_LISTENERS_MAX);
  __type(key, __u64);
  __type(value, struct cv_syn_listener);
} cv_syn_listeners SEC(".maps");

struct cv_syn_ring {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, CV_SYN_RING_BYTES);
};

/* worker -> its ring of cv_syn_event. Written by the worker. Filled by the filter; not pinned. In a full ring nothing is held. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
  __uint(max_entries, CV_WORKERS_MAX);
  __type(key, __u32);
  __array(values, struct cv_syn_ring);
} cv_syn_rings SEC(".maps");

/* What a socket filter gives back: how much of the packet stays. */
#define CV_FILTER_DROP 0U
#define CV_FILTER_PASS 0xffffffffU

#define CV_TCP_FLAGS_OFFSET 13
#define CV_TCP_OFFSET_OFFSET 12

/* SYN alone; what has FIN, RST or ACK beside it opens nothing. */
static __always_inline int cv_opens(__u8 tcp_flags) { return (tcp_flags & 0x17) == 0x02; }

/* Bytes of the IP header; 0: not one that is held. `first` is its first byte, `next` the protocol after an IPv6 header. */
static __always_inline __u32 cv_ip_header_bytes(__u32 ethertype, __u8 first, __u8 next) {
  if (ethertype == ETH_P_IP) return (first & 0x0fU) * 4U;
  return ethertype == ETH_P_IPV6 && next == 6 ? 40U : 0U;
}

/* In the filter of a TCP socket offsets count from the TCP header, except where they are said to count from the network header. */
static __always_inline __u32 cv_hold(struct __sk_buff* skb) {
  __u8 flags;
  if (bpf_skb_load_bytes(skb, CV_TCP_FLAGS_OFFSET, &flags, 1) || !cv_opens(flags)) return CV_FILTER_PASS;
  if (skb->priority == CV_SYN_PRIORITY) return CV_FILTER_PASS;
  __u64 cookie = bpf_get_socket_cookie(skb);
  const struct cv_syn_listener* listener = bpf_map_lookup_elem(&cv_syn_listeners, &cookie);
  if (!listener) return CV_FILTER_PASS;
  __u32 worker = listener->worker;
  void* ring = bpf_map_lookup_elem(&cv_syn_rings, &worker);
  if (!ring) return CV_FILTER_PASS;

  __u8 first;
  __u8 next;
  __u8 tcp_words;
  if (bpf_skb_load_bytes_relative(skb, 0, &first, 1, BPF_HDR_START_NET) ||
      bpf_skb_load_bytes_relative(skb, 6, &next, 1, BPF_HDR_START_NET) ||
      bpf_skb_load_bytes(skb, CV_TCP_OFFSET_OFFSET, &tcp_words, 1))
    return CV_FILTER_PASS;
  const __u32 ip_bytes = cv_ip_header_bytes(bpf_ntohs((__u16)skb->protocol), first, next);
  const __u32 tcp_bytes = (tcp_words >> 4) * 4U;
  __u32 bytes = ip_bytes + tcp_bytes;
  if (ip_bytes < 20 || tcp_bytes < 20) return CV_FILTER_PASS;
  asm volatile("" : "+r"(bytes)); /* the verifier wants the bound of this very register */
  if (bytes < 40 || bytes > CV_SYN_PACKET_BYTES_MAX) return CV_FILTER_PASS;

  struct cv_syn_event event = {.slot = listener->slot, .packet_bytes = bytes};
  if (bpf_skb_load_bytes_relative(skb, 0, event.packet, bytes, BPF_HDR_START_NET)) return CV_FILTER_PASS;
  if (bpf_ringbuf_output(ring, &event, CV_SYN_EVENT_HEADER_BYTES + bytes, 0)) return CV_FILTER_PASS;
  return CV_FILTER_DROP;
}

#endif
