/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every decision and drop of the BPF programs, counted per pod. One list: the enum, the metric's name and its help text come
 * from it. Names are label values of a metric: do not rename without a note in the changelog. Append only, and raise
 * CV_ABI_VERSION: the value of cv_counters grows.
 */
#ifndef CULVERT_ABI_COUNTERS_H
#define CULVERT_ABI_COUNTERS_H

/* X(ENUMERATOR, name, is_drop, help) */
#define CV_COUNTER_LIST(X)                                                                                             \
  X(CONNECT_STEERED, "connect_steered", 0, "Connects of the pod that were steered to the agent")                       \
  X(CONNECT_EXCLUDED, "connect_excluded", 0, "Connects to an excluded port or range, left alone")                      \
  X(OUTBOUND_TAKEN, "outbound_taken", 0, "Connections given to the agent's outbound listener")                         \
  X(INBOUND_TAKEN, "inbound_taken", 0, "Plaintext connections from outside given to the agent")                        \
  X(INBOUND_TUNNEL, "inbound_tunnel", 0, "Connections from outside to the tunnel port")                                \
  X(INBOUND_NODE, "inbound_node", 0, "Connections of the node itself (probes), passed to the application")             \
  X(INBOUND_EXCLUDED, "inbound_excluded", 0, "Connections from outside to an excluded port or from an excluded range") \
  X(INBOUND_BYPASS, "inbound_bypass", 0, "Connections from outside passed because the pod bypasses inbound capture")   \
  X(LEAVING_PASSED, "leaving_passed", 0, "New connections passed because the pod is leaving the mesh")                 \
  X(EGRESS_SYN, "egress_syn_redirected", 0, "SYNs that the connect hook missed, redirected to the agent")              \
  X(EGRESS_CAPTURED, "egress_captured_redirected", 0, "Packets of captured sockets found on a device, redirected")     \
  X(EGRESS_REPLY, "egress_reply_redirected", 0, "Replies to an address that the agent speaks for, redirected")         \
  X(EGRESS_EXCLUDED, "egress_excluded", 0, "SYNs to an excluded port or range that passed the device")                 \
  X(EGRESS_DIRECT, "egress_direct", 0, "Sockets left alone: older than the enrolment, probes, bypassed")               \
  X(DROP_NO_OUTBOUND, "drop_no_outbound_listener", 1, "Captured connections dropped: no agent listens in the pod")     \
  X(DROP_NO_INBOUND, "drop_no_inbound_listener", 1, "Connections from outside dropped: no agent listens in the pod")   \
  X(DROP_AGENT_PORT, "drop_agent_port", 1, "Connections of the pod to the agent's own ports on loopback")              \
  X(DROP_RAW_PAYLOAD, "drop_raw_payload", 1, "TCP payload that no TCP socket sent (raw or packet socket, forwarded)")  \
  X(DROP_FRAGMENT, "drop_fragment", 1, "TCP in IP fragments: the ports cannot be told")                                \
  X(DROP_TRUNCATED, "drop_truncated", 1, "TCP packets too short for their headers")                                    \
  X(DROP_EXTENSIONS, "drop_extension_headers", 1, "IPv6 packets with more extension headers than are looked at")       \
  X(DROP_VLAN, "drop_vlan", 1, "Frames with a VLAN tag of the pod's own making")                                       \
  X(DROP_NOT_REDIRECTED, "drop_not_redirected", 1, "Captured packets that could not be redirected")                    \
  X(DROP_NO_PROGRAM, "drop_no_program", 1, "Packets dropped because the egress program is not loaded")                 \
  X(DNS_STEERED, "dns_steered", 0, "Questions (UDP) and connections (TCP) to port 53 given to the agent")              \
  X(DNS_PASSED, "dns_passed", 0, "The same, left to the server that was asked: no agent listens in the pod")           \
  X(DROP_ETHERTYPE, "drop_ethertype", 1, "Frames of another type than their sender told the kernel (packet socket)")   \
  X(SOCKOPT_REFUSED, "sockopt_refused", 0, "Socket options refused because what is sent then passes no hook")

enum cv_counter {
#define CV_COUNTER_ENUM(enumerator, name, is_drop, help) CV_COUNTER_##enumerator,
  CV_COUNTER_LIST(CV_COUNTER_ENUM)
#undef CV_COUNTER_ENUM
      CV_COUNTERS /* how many there are */
};

#endif
