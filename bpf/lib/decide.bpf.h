/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decisions, as functions of values: no context, no map, no helper. Each hook gathers the facts, asks here, and carries the
 * answer out. Also compiled on the host by tests/unit/bpf and run in the kernel by tests/bpf.
 */
#ifndef CULVERT_BPF_DECIDE_H
#define CULVERT_BPF_DECIDE_H

#include "culvert/abi/maps.h"

/* connect: what becomes of a socket that is about to connect. */
enum cv_connect_way {
  CV_CONNECT_LEAVE,   /* not the mesh's business: no mark, no state */
  CV_CONNECT_LEAVING, /* the same, because the pod is leaving */
  CV_CONNECT_DIRECT,  /* excluded */
  CV_CONNECT_CAPTURE,
};

static __always_inline enum cv_connect_way cv_connect_way(__u32 pod_flags, int is_local, int is_excluded) {
  if (!(pod_flags & CV_POD_ACTIVE) || is_local) return CV_CONNECT_LEAVE;
  if (pod_flags & CV_POD_LEAVING) return CV_CONNECT_LEAVING;
  return is_excluded ? CV_CONNECT_DIRECT : CV_CONNECT_CAPTURE;
}

/* A question to port 53: whether the agent shall answer it. */
static __always_inline int cv_dns_is_wanted(__u32 pod_flags, int is_local, int is_excluded) {
  return (pod_flags & (CV_POD_ACTIVE | CV_POD_LEAVING | CV_POD_DNS)) == (CV_POD_ACTIVE | CV_POD_DNS) && !is_local &&
         !is_excluded;
}

/* sk_lookup: which listener a packet goes to that belongs to no connection yet. */
enum cv_lookup_way {
  CV_LOOKUP_PASS,     /* as without a mesh */
  CV_LOOKUP_OUTBOUND, /* steered or redirected: the agent's outbound listener, or nothing */
  CV_LOOKUP_INBOUND,  /* from outside: the agent's inbound listener, or nothing, unless known or excluded */
  CV_LOOKUP_TUNNEL,   /* from outside to the tunnel port */
  CV_LOOKUP_LEAVING,
  CV_LOOKUP_BYPASS,
  CV_LOOKUP_AGENT_PORT, /* the pod calls the agent's listeners, which speak to steered connections alone: drop */
};

struct cv_lookup_facts {
  __u32 pod_flags;
  __u16 local_port;
  __u8 is_lo; /* arrived on the loopback device */
  __u8 is_local_loopback;
  __u8 is_local_own;  /* the destination is one of the pod's addresses */
  __u8 is_remote_own; /* the source is */
};

static __always_inline enum cv_lookup_way cv_lookup_way(const struct cv_lookup_facts* facts) {
  if (!(facts->pod_flags & CV_POD_ACTIVE)) return CV_LOOKUP_PASS;
  if (facts->is_lo) {
    if (facts->is_local_loopback) {
      if (facts->local_port == CV_PORT_OUTBOUND || facts->local_port == CV_PORT_INBOUND) return CV_LOOKUP_AGENT_PORT;
      return CV_LOOKUP_PASS;
    }
    return facts->is_local_own ? CV_LOOKUP_PASS : CV_LOOKUP_OUTBOUND;
  }
  /*
   * A pod that calls itself: the kernel names the address's device as the arriving one, though the packet came over lo. Also
   * the lookups that tc egress makes for the pod's own packets, which must not be counted as connections from outside.
   */
  if (facts->is_remote_own) return CV_LOOKUP_PASS;
  if (facts->local_port == CV_PORT_TUNNEL) return CV_LOOKUP_TUNNEL;
  if (facts->pod_flags & CV_POD_LEAVING) return CV_LOOKUP_LEAVING;
  if (facts->pod_flags & CV_POD_BYPASS_INBOUND) return CV_LOOKUP_BYPASS;
  return CV_LOOKUP_INBOUND;
}

#define CV_SOL_PACKET 263
#define CV_PACKET_TX_RING 13
#define CV_PACKET_VNET_HDR 15
#define CV_PACKET_QDISC_BYPASS 20
#define CV_PACKET_VNET_HDR_SZ 24
#define CV_SOL_XDP 283
#define CV_XDP_TX_RING 3
#define CV_XDP_UMEM_REG 4

/* setsockopt: whether a socket with this option sends past tc egress, or what is not yet what will leave: a frame of PACKET_TX_RING lies in memory that the sender may still
 * change, and with PACKET_VNET_HDR a checksum may be written anywhere into it later. 0 switches PACKET_QDISC_BYPASS and PACKET_VNET_HDR off; rings have no such value. */
static __always_inline int cv_option_bypasses(__s32 level, __s32 name) {
  if (level == CV_SOL_PACKET)
    return name == CV_PACKET_QDISC_BYPASS || name == CV_PACKET_TX_RING || name == CV_PACKET_VNET_HDR ||
           name == CV_PACKET_VNET_HDR_SZ;
  return level == CV_SOL_XDP && (name == CV_XDP_TX_RING || name == CV_XDP_UMEM_REG);
}

/* tc egress, first: by the socket alone. */
enum cv_egress_way {
  CV_EGRESS_PASS,
  CV_EGRESS_LOOK,     /* the packet has to be read */
  CV_EGRESS_CAPTURED, /* redirect: the socket is captured */
};

struct cv_egress_sock {
  __u8 is_tcp; /* a full TCP stream socket sends it */
  __u8 is_udp;
  __u8 is_syn_sent;
  __u32 kind; /* enum cv_sock_kind */
};

static __always_inline enum cv_egress_way cv_egress_by_sock(const struct cv_egress_sock* sock) {
  if (!sock->is_tcp) return sock->is_udp ? CV_EGRESS_PASS : CV_EGRESS_LOOK;
  if (sock->kind == CV_SOCK_AGENT) return CV_EGRESS_PASS;
  if (sock->kind == CV_SOCK_CAPTURED) return CV_EGRESS_CAPTURED;
  /* A direct socket that connects anew where the connect hook is absent is decided anew. */
  if (sock->kind == CV_SOCK_DIRECT && !sock->is_syn_sent) return CV_EGRESS_PASS;
  return CV_EGRESS_LOOK;
}

/* tc egress, second: by the packet, of a socket that is neither the agent's nor captured. */
struct cv_egress_packet {
  __u32 pod_flags;
  __u8 is_tcp_sock;
  __u8 is_syn; /* SYN without ACK */
  __u8 has_payload;
  __u8 is_excluded;   /* matters for SYNs and for payload without a TCP socket */
  __u8 has_other_end; /* matters for all but SYNs: the agent has a socket for the other end, in another's name */
};

enum cv_verdict { CV_VERDICT_PASS, CV_VERDICT_REDIRECT, CV_VERDICT_DROP };

struct cv_egress_verdict {
  enum cv_verdict act;
  __u32 kind;    /* what the TCP socket becomes, if there is one and this is not CV_SOCK_NONE */
  __s32 counter; /* enum cv_counter, or -1 */
};

/* Where there is no TCP socket, payload comes from a raw or packet socket or is forwarded: nothing says whose it is. */
static __always_inline int cv_is_stray_payload(const struct cv_egress_packet* packet) {
  return !packet->is_tcp_sock && packet->has_payload && !packet->is_syn;
}

static __always_inline struct cv_egress_verdict cv_egress_by_packet(const struct cv_egress_packet* packet) {
  struct cv_egress_verdict pass = {CV_VERDICT_PASS, CV_SOCK_NONE, -1};
  if (!(packet->pod_flags & CV_POD_ACTIVE)) return pass;
  if (packet->is_syn) {
    if (packet->pod_flags & CV_POD_LEAVING) {
      pass.counter = CV_COUNTER_LEAVING_PASSED;
      return pass;
    }
    if (packet->is_excluded)
      return (struct cv_egress_verdict){CV_VERDICT_PASS, CV_SOCK_DIRECT, CV_COUNTER_EGRESS_EXCLUDED};
    return (struct cv_egress_verdict){CV_VERDICT_REDIRECT, CV_SOCK_CAPTURED, CV_COUNTER_EGRESS_SYN};
  }
  if (packet->has_other_end)
    return (struct cv_egress_verdict){CV_VERDICT_REDIRECT, CV_SOCK_CAPTURED, CV_COUNTER_EGRESS_REPLY};
  /* Decided for the socket's life: a socket of the agent with this very tuple cannot come into being later. */
  if (packet->is_tcp_sock) return (struct cv_egress_verdict){CV_VERDICT_PASS, CV_SOCK_DIRECT, CV_COUNTER_EGRESS_DIRECT};
  if (cv_is_stray_payload(packet) && !packet->is_excluded && !(packet->pod_flags & CV_POD_LEAVING))
    return (struct cv_egress_verdict){CV_VERDICT_DROP, CV_SOCK_NONE, CV_COUNTER_DROP_RAW_PAYLOAD};
  return pass;
}

#endif
