// SPDX-License-Identifier: Apache-2.0
// What the decision functions of bpf/lib/decide.bpf.h are to say, as tables: tests/unit/bpf runs them on the host, tests/bpf in the kernel.
#pragma once

#include "lib/decide.bpf.h"

namespace culvert::test {

inline constexpr __u32 kActive = CV_POD_ACTIVE;
inline constexpr __u32 kLeaving = CV_POD_ACTIVE | CV_POD_LEAVING;
inline constexpr __u32 kBypass = CV_POD_ACTIVE | CV_POD_BYPASS_INBOUND;

struct ConnectCase {
  const char* text;
  __u32 flags;
  int is_local;
  int is_excluded;
  enum cv_connect_way way;
};
inline constexpr ConnectCase kConnectCases[] = {
    {"a connect to anywhere is captured", kActive, 0, 0, CV_CONNECT_CAPTURE},
    {"a connect to the pod itself or to loopback is left", kActive, 1, 0, CV_CONNECT_LEAVE},
    {"an excluded one is direct", kActive, 0, 1, CV_CONNECT_DIRECT},
    {"a leaving pod's connect is left", kLeaving, 0, 0, CV_CONNECT_LEAVING},
    {"a leaving pod's excluded connect is left too", kLeaving, 0, 1, CV_CONNECT_LEAVING},
    {"a slot without a pod decides nothing", 0, 0, 0, CV_CONNECT_LEAVE},
    {"bypassing inbound changes nothing outbound", kBypass, 0, 0, CV_CONNECT_CAPTURE},
};

struct DnsCase {
  const char* text;
  __u32 flags;
  int is_local;
  int is_excluded;
  int is_wanted;
};
inline constexpr DnsCase kDnsCases[] = {
    {"a question to a server is the agent's", kActive | CV_POD_DNS, 0, 0, 1},
    {"one to the pod itself or to loopback is not", kActive | CV_POD_DNS, 1, 0, 0},
    {"one to an excluded server or with port 53 excluded is not", kActive | CV_POD_DNS, 0, 1, 0},
    {"a leaving pod's is not", kLeaving | CV_POD_DNS, 0, 0, 0},
    {"without DNS capture none is", kActive, 0, 0, 0},
    {"a slot without a pod has none", CV_POD_DNS, 0, 0, 0},
};

struct OptionCase {
  const char* text;
  int level, name, bypasses;
};
inline constexpr OptionCase kOptionCases[] = {
    {"PACKET_QDISC_BYPASS", 263, 20, 1},
    {"PACKET_TX_RING", 263, 13, 1},
    {"PACKET_RX_RING", 263, 5, 0},
    {"PACKET_VNET_HDR", 263, 15, 1},
    {"PACKET_VNET_HDR_SZ", 263, 24, 1},
    {"an AF_XDP socket's transmit ring", 283, 3, 1},
    {"and its memory", 283, 4, 1},
    {"an AF_XDP socket's receive ring", 283, 2, 0},
    {"another option of packet sockets", 263, 18, 0},
    {"IPPROTO_TCP with the same number", 6, 20, 0},
    {"SO_PASSCRED's level with the ring's number", 1, 3, 0},
};

struct LookupCase {
  const char* text;
  cv_lookup_facts facts;
  enum cv_lookup_way way;
};
// {flags, port, is_lo, local is loopback, local is own, remote is own}
inline constexpr LookupCase kLookupCases[] = {
    {"a foreign destination on lo was steered", {kActive, 80, 1, 0, 0, 1}, CV_LOOKUP_OUTBOUND},
    {"a leaving pod's captured connection still goes to the agent", {kLeaving, 80, 1, 0, 0, 1}, CV_LOOKUP_OUTBOUND},
    {"loopback is the pod's own", {kActive, 80, 1, 1, 0, 0}, CV_LOOKUP_PASS},
    {"the agent's outbound port on loopback is closed to the pod",
     {kActive, CV_PORT_OUTBOUND, 1, 1, 0, 0},
     CV_LOOKUP_AGENT_PORT},
    {"and the inbound one", {kActive, CV_PORT_INBOUND, 1, 1, 0, 0}, CV_LOOKUP_AGENT_PORT},
    {"an own address on lo is the agent calling the application", {kActive, 80, 1, 0, 1, 0}, CV_LOOKUP_PASS},
    {"from outside to an application: the agent decides", {kActive, 80, 0, 0, 1, 0}, CV_LOOKUP_INBOUND},
    {"to an address that the agent does not know of as well", {kActive, 80, 0, 0, 0, 0}, CV_LOOKUP_INBOUND},
    {"a port that is the agent's on loopback is ordinary elsewhere",
     {kActive, CV_PORT_INBOUND, 0, 0, 1, 0},
     CV_LOOKUP_INBOUND},
    {"the tunnel port", {kActive, CV_PORT_TUNNEL, 0, 0, 1, 0}, CV_LOOKUP_TUNNEL},
    {"the tunnel port of a leaving pod stays the tunnel", {kLeaving, CV_PORT_TUNNEL, 0, 0, 1, 0}, CV_LOOKUP_TUNNEL},
    {"a pod that calls itself through a device's address", {kActive, 80, 0, 0, 1, 1}, CV_LOOKUP_PASS},
    {"a leaving pod is open", {kLeaving, 80, 0, 0, 1, 0}, CV_LOOKUP_LEAVING},
    {"a pod that asked for bypass too", {kBypass, 80, 0, 0, 1, 0}, CV_LOOKUP_BYPASS},
    {"bypass does not touch what was steered", {kBypass, 80, 1, 0, 0, 1}, CV_LOOKUP_OUTBOUND},
    {"no pod", {0, 80, 0, 0, 1, 0}, CV_LOOKUP_PASS},
};

struct EgressSockCase {
  const char* text;
  cv_egress_sock sock;
  enum cv_egress_way way;
};
// {is_tcp, is_udp, is_syn_sent, kind}
inline constexpr EgressSockCase kEgressSockCases[] = {
    {"the agent's packets pass", {1, 0, 0, CV_SOCK_AGENT}, CV_EGRESS_PASS},
    {"the agent's SYN too", {1, 0, 1, CV_SOCK_AGENT}, CV_EGRESS_PASS},
    {"a captured socket's are sent back", {1, 0, 0, CV_SOCK_CAPTURED}, CV_EGRESS_CAPTURED},
    {"from its SYN on", {1, 0, 1, CV_SOCK_CAPTURED}, CV_EGRESS_CAPTURED},
    {"a direct socket's pass", {1, 0, 0, CV_SOCK_DIRECT}, CV_EGRESS_PASS},
    {"but its SYN is looked at again", {1, 0, 1, CV_SOCK_DIRECT}, CV_EGRESS_LOOK},
    {"a socket without state is looked at", {1, 0, 0, CV_SOCK_NONE}, CV_EGRESS_LOOK},
    {"UDP passes", {0, 1, 0, CV_SOCK_NONE}, CV_EGRESS_PASS},
    {"anything else, or no socket, is looked at", {0, 0, 0, CV_SOCK_NONE}, CV_EGRESS_LOOK},
};

struct EgressPacketCase {
  const char* text;
  cv_egress_packet packet;
  cv_verdict act;
  __u32 kind;
  __s32 counter;
};
// {flags, is TCP socket, is SYN, has payload, is excluded, has other end}
inline constexpr EgressPacketCase kEgressPacketCases[] = {
    {"a SYN that was not steered",
     {kActive, 1, 1, 0, 0, 0},
     CV_VERDICT_REDIRECT,
     CV_SOCK_CAPTURED,
     CV_COUNTER_EGRESS_SYN},
    {"a SYN with payload (fast open)",
     {kActive, 1, 1, 1, 0, 0},
     CV_VERDICT_REDIRECT,
     CV_SOCK_CAPTURED,
     CV_COUNTER_EGRESS_SYN},
    {"a SYN from a raw socket", {kActive, 0, 1, 1, 0, 0}, CV_VERDICT_REDIRECT, CV_SOCK_CAPTURED, CV_COUNTER_EGRESS_SYN},
    {"an excluded SYN", {kActive, 1, 1, 0, 1, 0}, CV_VERDICT_PASS, CV_SOCK_DIRECT, CV_COUNTER_EGRESS_EXCLUDED},
    {"a leaving pod's SYN", {kLeaving, 1, 1, 0, 0, 0}, CV_VERDICT_PASS, CV_SOCK_NONE, CV_COUNTER_LEAVING_PASSED},
    {"an application's answer to the agent",
     {kActive, 1, 0, 1, 0, 1},
     CV_VERDICT_REDIRECT,
     CV_SOCK_CAPTURED,
     CV_COUNTER_EGRESS_REPLY},
    {"also while the pod leaves",
     {kLeaving, 1, 0, 1, 0, 1},
     CV_VERDICT_REDIRECT,
     CV_SOCK_CAPTURED,
     CV_COUNTER_EGRESS_REPLY},
    {"a SYN-ACK to the agent",
     {kActive, 0, 0, 0, 0, 1},
     CV_VERDICT_REDIRECT,
     CV_SOCK_CAPTURED,
     CV_COUNTER_EGRESS_REPLY},
    {"a connection older than the joining",
     {kActive, 1, 0, 1, 0, 0},
     CV_VERDICT_PASS,
     CV_SOCK_DIRECT,
     CV_COUNTER_EGRESS_DIRECT},
    {"a reset of no socket", {kActive, 0, 0, 0, 0, 0}, CV_VERDICT_PASS, CV_SOCK_NONE, -1},
    {"payload of no socket", {kActive, 0, 0, 1, 0, 0}, CV_VERDICT_DROP, CV_SOCK_NONE, CV_COUNTER_DROP_RAW_PAYLOAD},
    {"payload of no socket to an excluded port", {kActive, 0, 0, 1, 1, 0}, CV_VERDICT_PASS, CV_SOCK_NONE, -1},
    {"payload of no socket while the pod leaves", {kLeaving, 0, 0, 1, 0, 0}, CV_VERDICT_PASS, CV_SOCK_NONE, -1},
    {"no pod", {0, 1, 1, 0, 0, 0}, CV_VERDICT_PASS, CV_SOCK_NONE, -1},
};

}  // namespace culvert::test
