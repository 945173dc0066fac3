/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads a frame's type and a TCP packet's addresses, ports and flags. The includer defines `cv_load_bytes(packet, offset, to, bytes)`, which gives 0 or
 * an error when the packet is shorter: bpf_skb_load_bytes in the kernel, a byte array in tests/unit/bpf.
 */
#ifndef CULVERT_BPF_PACKET_H
#define CULVERT_BPF_PACKET_H

#include <linux/if_ether.h>

#include "lib/addr.bpf.h"

/* More extension headers than this are not looked through: the packet is dropped. Hosts send none or one. */
#define CV_EXTENSIONS_MAX 4

enum cv_parse {
  CV_PARSE_TCP,
  CV_PARSE_OTHER, /* not TCP: none of our business */
  CV_PARSE_FRAGMENT,
  CV_PARSE_TRUNCATED,
  CV_PARSE_EXTENSIONS,
  CV_PARSE_VLAN,
  CV_PARSE_ETHERTYPE, /* the frame is not what its sender told the kernel */
};

struct cv_tcp_packet {
  struct cv_tuple tuple;
  __u8 is_v4;
  __u8 is_syn; /* SYN without ACK */
  __u8 has_payload;
};

/* RFC 9293 §3.1, the part that is read. */
struct cv_tcp_header {
  __u16 source_port_be;
  __u16 destination_port_be;
  __u32 sequence_be;
  __u32 acknowledgment_be;
  __u8 offset_and_reserved; /* header words in the upper four bits */
  __u8 flags;
  __u16 window_be;
  __u32 checksum_and_urgent;
};

static __always_inline enum cv_parse cv_parse_tcp(const void* packet, __u32 packet_bytes, __u32 offset,
                                                  struct cv_tcp_packet* out) {
  struct cv_tcp_header tcp;
  if (cv_load_bytes(packet, offset, &tcp, sizeof(tcp))) return CV_PARSE_TRUNCATED;
  const __u32 header_bytes = (tcp.offset_and_reserved >> 4) * 4U;
  if (header_bytes < sizeof(tcp) || offset + header_bytes > packet_bytes) return CV_PARSE_TRUNCATED;
  out->tuple.source_port = bpf_ntohs(tcp.source_port_be);
  out->tuple.destination_port = bpf_ntohs(tcp.destination_port_be);
  out->is_syn = (tcp.flags & 0x12) == 0x02;
  out->has_payload = packet_bytes > offset + header_bytes;
  return CV_PARSE_TCP;
}

/* RFC 791 §3.1. */
struct cv_ipv4_header {
  __u8 version_and_words;
  __u8 tos;
  __u16 total_bytes_be;
  __u16 id;
  __u16 fragment_be; /* reserved, don't fragment, more fragments, 13 bits of offset */
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __u32 source;
  __u32 destination;
};

/* Finds where the TCP header begins. */
static __always_inline enum cv_parse cv_locate_ipv4(const void* packet, __u32* offset, struct cv_tcp_packet* out) {
  struct cv_ipv4_header ip;
  if (cv_load_bytes(packet, ETH_HLEN, &ip, sizeof(ip))) return CV_PARSE_TRUNCATED;
  if (ip.protocol != CV_IPPROTO_TCP) return CV_PARSE_OTHER;
  if (ip.fragment_be & bpf_htons(0x3fff)) return CV_PARSE_FRAGMENT;
  const __u32 header_bytes = (ip.version_and_words & 0x0f) * 4U;
  if (header_bytes < sizeof(ip)) return CV_PARSE_TRUNCATED;
  out->is_v4 = 1;
  out->tuple.source = cv_addr_v4(ip.source);
  out->tuple.destination = cv_addr_v4(ip.destination);
  *offset = ETH_HLEN + header_bytes;
  return CV_PARSE_TCP;
}

/* RFC 8200 §3. */
struct cv_ipv6_header {
  __u32 version_class_flow;
  __u16 payload_bytes_be;
  __u8 next_header;
  __u8 hop_limit;
  struct cv_addr source;
  struct cv_addr destination;
};

#define CV_NEXT_HOP_BY_HOP 0
#define CV_NEXT_ROUTING 43
#define CV_NEXT_FRAGMENT 44
#define CV_NEXT_AUTHENTICATION 51
#define CV_NEXT_DESTINATION 60

/* Those behind which another header may stand, TCP's among them. */
static __always_inline int cv_is_extension(__u8 next) {
  return next == CV_NEXT_HOP_BY_HOP || next == CV_NEXT_ROUTING || next == CV_NEXT_FRAGMENT ||
         next == CV_NEXT_AUTHENTICATION || next == CV_NEXT_DESTINATION;
}

static __always_inline enum cv_parse cv_locate_ipv6(const void* packet, __u32* tcp_offset, struct cv_tcp_packet* out) {
  struct cv_ipv6_header ip;
  if (cv_load_bytes(packet, ETH_HLEN, &ip, sizeof(ip))) return CV_PARSE_TRUNCATED;
  out->is_v4 = 0;
  out->tuple.source = ip.source;
  out->tuple.destination = ip.destination;
  __u32 offset = ETH_HLEN + sizeof(ip);
  __u8 next = ip.next_header;
#pragma clang loop unroll(disable)
  for (int i = 0; i <= CV_EXTENSIONS_MAX; i++) {
    __u8 extension[2]; /* next header, length */
    if (next == CV_IPPROTO_TCP) {
      *tcp_offset = offset;
      return CV_PARSE_TCP;
    }
    if (!cv_is_extension(next)) return CV_PARSE_OTHER;
    if (cv_load_bytes(packet, offset, extension, sizeof(extension))) return CV_PARSE_TRUNCATED;
    if (next == CV_NEXT_FRAGMENT) {
      /* Only the first fragment says what follows; any that may hold TCP is TCP. */
      return extension[0] == CV_IPPROTO_TCP || cv_is_extension(extension[0]) ? CV_PARSE_FRAGMENT : CV_PARSE_OTHER;
    }
    offset += next == CV_NEXT_AUTHENTICATION ? (extension[1] + 2U) * 4U : (extension[1] + 1U) * 8U;
    next = extension[0];
  }
  return CV_PARSE_EXTENSIONS;
}

/* Below this the field is a length (IEEE 802.3), and the kernel's own names for such frames are small numbers too. */
#define CV_ETHERTYPE_MIN 0x0600

/*
 * `told` in host order: skb->protocol. A packet socket says it as it likes, and the receiver goes by the frame, so the frame is what
 * is judged. An offloaded VLAN tag is not in the frame: what stands behind it is judged as without one.
 */
static __always_inline enum cv_parse cv_parse_frame(const void* packet, __u32 packet_bytes, __u16 told,
                                                    struct cv_tcp_packet* out) {
  enum cv_parse located;
  __u32 offset = 0;
  __u16 ethertype_be;
  if (cv_load_bytes(packet, ETH_HLEN - sizeof(ethertype_be), &ethertype_be, sizeof(ethertype_be)))
    return CV_PARSE_TRUNCATED;
  const __u16 ethertype = bpf_ntohs(ethertype_be);
  if (ethertype != told && (ethertype >= CV_ETHERTYPE_MIN || told >= CV_ETHERTYPE_MIN)) return CV_PARSE_ETHERTYPE;
  switch (ethertype) {
    case ETH_P_IP: located = cv_locate_ipv4(packet, &offset, out); break;
    case ETH_P_IPV6: located = cv_locate_ipv6(packet, &offset, out); break;
    case ETH_P_8021Q:
    case ETH_P_8021AD: return CV_PARSE_VLAN;
    default: return CV_PARSE_OTHER;
  }
  if (located != CV_PARSE_TCP) return located;
  return cv_parse_tcp(packet, packet_bytes, offset, out);
}

#endif
