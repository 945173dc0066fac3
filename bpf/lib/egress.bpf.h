/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gathers the facts of a packet that is about to leave the pod and carries the decision out. */
#ifndef CULVERT_BPF_EGRESS_H
#define CULVERT_BPF_EGRESS_H

#include "lib/bpf.bpf.h"

#define cv_load_bytes(packet, offset, to, bytes) \
  bpf_skb_load_bytes((const struct __sk_buff*)(packet), (offset), (to), (bytes))

#include "lib/decide.bpf.h"
#include "lib/packet.bpf.h"
#include "lib/pod.bpf.h"

/* "Go on": the next tcx program or tc filter decides. TC_ACT_OK would end the chain and cut other tools off. */
#define CV_TC_NEXT (-1)
#define CV_TC_DROP 2

static __always_inline int cv_drop(__u32 slot, enum cv_counter counter) {
  cv_count(slot, counter);
  return CV_TC_DROP;
}

/*
 * Makes the packet arrive on lo. The mark routes it into the local table; the zero destination address is lo's own, without it the
 * packet would be "for another host".
 */
static __always_inline int cv_to_lo(struct __sk_buff* skb, __u32 slot, enum cv_counter counter) {
  const __u8 lo_address[6] = {0};
  if (bpf_skb_store_bytes(skb, 0, lo_address, sizeof(lo_address), 0))
    return cv_drop(slot, CV_COUNTER_DROP_NOT_REDIRECTED);
  skb->mark = cv_mark;
  cv_count(slot, counter);
  return (int)bpf_redirect(CV_LO_IFINDEX, BPF_F_INGRESS);
}

/*
 * Whether the other end of this connection is a socket in this very namespace: one that the agent opened in another's name. The
 * tuple is the packet's own, as if it had arrived. Listeners do not count.
 */
static __always_inline int cv_has_other_end(struct __sk_buff* skb, const struct cv_tcp_packet* packet) {
  struct bpf_sock_tuple tuple = {};
  __u32 tuple_bytes;
  if (packet->is_v4) {
    tuple.ipv4.saddr = packet->tuple.source.words[3];
    tuple.ipv4.daddr = packet->tuple.destination.words[3];
    tuple.ipv4.sport = bpf_htons(packet->tuple.source_port);
    tuple.ipv4.dport = bpf_htons(packet->tuple.destination_port);
    tuple_bytes = sizeof(tuple.ipv4);
  } else {
    __builtin_memcpy(tuple.ipv6.saddr, packet->tuple.source.words, sizeof(tuple.ipv6.saddr));
    __builtin_memcpy(tuple.ipv6.daddr, packet->tuple.destination.words, sizeof(tuple.ipv6.daddr));
    tuple.ipv6.sport = bpf_htons(packet->tuple.source_port);
    tuple.ipv6.dport = bpf_htons(packet->tuple.destination_port);
    tuple_bytes = sizeof(tuple.ipv6);
  }
  struct bpf_sock* other = bpf_skc_lookup_tcp(skb, &tuple, tuple_bytes, BPF_F_CURRENT_NETNS, 0);
  if (!other) return 0;
  const int is_connection = other->state != BPF_TCP_LISTEN;
  bpf_sk_release(other);
  return is_connection;
}

/*
 * Writes the state of a TCP socket; where there is no room for one, the next packet is looked at again. Never that of a listener, whose resets carry it from Linux 6.13 on: what
 * it accepts would inherit it.
 */
static __always_inline void cv_set_kind(struct bpf_sock* sk, __u32 kind) {
  if (sk->state == BPF_TCP_LISTEN) return;
  struct cv_sock_state fresh = {.kind = kind, .mark_before = sk->mark};
  struct cv_sock_state* state = bpf_sk_storage_get(&cv_sock_state, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
  if (state) state->kind = kind;
}

/* Counters of packets that cannot be judged; -1 where the packet is TCP or none of our business. */
static __always_inline int cv_unreadable(enum cv_parse parsed) {
  switch (parsed) {
    case CV_PARSE_FRAGMENT: return CV_COUNTER_DROP_FRAGMENT;
    case CV_PARSE_TRUNCATED: return CV_COUNTER_DROP_TRUNCATED;
    case CV_PARSE_EXTENSIONS: return CV_COUNTER_DROP_EXTENSIONS;
    case CV_PARSE_VLAN: return CV_COUNTER_DROP_VLAN;
    case CV_PARSE_ETHERTYPE: return CV_COUNTER_DROP_ETHERTYPE;
    default: return -1;
  }
}

/* `tcp`: the TCP socket that sends it, or null. */
static __always_inline int cv_egress_packet(struct __sk_buff* skb, __u32 slot, struct bpf_sock* tcp) {
  struct cv_tcp_packet packet = {};
  const enum cv_parse parsed = cv_parse_frame(skb, skb->len, bpf_ntohs((__u16)skb->protocol), &packet);
  if (parsed == CV_PARSE_OTHER) return CV_TC_NEXT;
  const struct cv_pod* pod = bpf_map_lookup_elem(&cv_pods, &slot);
  if (!pod || !(pod->flags & CV_POD_ACTIVE)) return CV_TC_NEXT;
  if (parsed != CV_PARSE_TCP) return cv_drop(slot, (enum cv_counter)cv_unreadable(parsed));

  struct cv_egress_packet facts = {
      .pod_flags = pod->flags, .is_tcp_sock = tcp != 0, .is_syn = packet.is_syn, .has_payload = packet.has_payload};
  if (facts.is_syn || cv_is_stray_payload(&facts))
    facts.is_excluded = (__u8)cv_is_excluded(slot, facts.pod_flags, CV_DIRECTION_OUT, &packet.tuple.destination,
                                             packet.tuple.destination_port);
  if (!facts.is_syn) facts.has_other_end = (__u8)cv_has_other_end(skb, &packet);
  const struct cv_egress_verdict verdict = cv_egress_by_packet(&facts);
  if (tcp && verdict.kind != CV_SOCK_NONE) cv_set_kind(tcp, verdict.kind);
  if (verdict.act == CV_VERDICT_REDIRECT) return cv_to_lo(skb, slot, (enum cv_counter)verdict.counter);
  if (verdict.counter >= 0) cv_count(slot, (enum cv_counter)verdict.counter);
  return verdict.act == CV_VERDICT_DROP ? CV_TC_DROP : CV_TC_NEXT;
}

static __always_inline int cv_egress(struct __sk_buff* skb, __u32 slot) {
  struct bpf_sock* sk = skb->sk;
  if (sk) sk = bpf_sk_fullsock(sk);
  if (!sk) return cv_egress_packet(skb, slot, 0);
  struct cv_egress_sock facts = {
      .is_tcp = sk->type == CV_SOCK_STREAM && sk->protocol == CV_IPPROTO_TCP,
      .is_udp = sk->type == CV_SOCK_DGRAM && sk->protocol == 17,
      .is_syn_sent = sk->state == BPF_TCP_SYN_SENT,
  };
  if (facts.is_tcp) {
    const struct cv_sock_state* state = bpf_sk_storage_get(&cv_sock_state, sk, 0, 0);
    if (state) facts.kind = state->kind;
  }
  switch (cv_egress_by_sock(&facts)) {
    case CV_EGRESS_PASS: return CV_TC_NEXT;
    case CV_EGRESS_CAPTURED: return cv_to_lo(skb, slot, CV_COUNTER_EGRESS_CAPTURED);
    default: break;
  }
  return cv_egress_packet(skb, slot, facts.is_tcp ? sk : 0);
}

#endif
