// SPDX-License-Identifier: Apache-2.0
// The requests of RtNetlink, one by one; the exchange itself is in rtnetlink.cpp.
#include <cerrno>
#include <cstring>
#include <optional>

#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "culvert/abi/limits.h"
#include "datapath/rtnetlink.hpp"

namespace culvert::datapath {
namespace {

// What the kernel says to a removal where a family is not built in, or is switched off at boot (ipv6.disable=1): there is nothing to remove.
bool is_family_absent(int error) noexcept { return error == EAFNOSUPPORT || error == EOPNOTSUPP; }

// Newer than Debian 12's headers (6.3).
constexpr std::uint16_t kIflaGsoIpv4MaxSize = 63;
constexpr std::uint16_t kIflaGroIpv4MaxSize = 64;

// Calls `visit(type, data, bytes)` for each attribute behind a body of `body_bytes`.
template <typename Visit>
void for_each_attribute(const nlmsghdr& message, std::size_t body_bytes, Visit&& visit) {
  const auto* base = reinterpret_cast<const std::uint8_t*>(&message);
  std::size_t offset = NLMSG_HDRLEN + NLMSG_ALIGN(body_bytes);
  while (offset + sizeof(nlattr) <= message.nlmsg_len) {
    nlattr header;
    std::memcpy(&header, base + offset, sizeof(header));
    if (header.nla_len < sizeof(header) || offset + header.nla_len > message.nlmsg_len) return;
    visit(static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK), base + offset + sizeof(header),
          header.nla_len - sizeof(header));
    offset += NLA_ALIGN(header.nla_len);
  }
}

std::uint32_t u32_of(const std::uint8_t* data, std::size_t bytes) {
  std::uint32_t value = 0;
  if (bytes >= sizeof(value)) std::memcpy(&value, data, sizeof(value));
  return value;
}

template <typename Body>
Body body_of(const nlmsghdr& message) {
  Body body{};
  if (message.nlmsg_len >= NLMSG_HDRLEN + sizeof(body))
    std::memcpy(&body, reinterpret_cast<const std::uint8_t*>(&message) + NLMSG_HDRLEN, sizeof(body));
  return body;
}

NetDevice device_of(const nlmsghdr& message) {
  const auto info = body_of<ifinfomsg>(message);
  NetDevice device;
  device.ifindex = static_cast<std::uint32_t>(info.ifi_index);
  device.hardware_type = info.ifi_type;
  device.is_up = (info.ifi_flags & IFF_UP) != 0;
  for_each_attribute(message, sizeof(ifinfomsg), [&](std::uint16_t type, const std::uint8_t* data, std::size_t bytes) {
    switch (type) {
      case IFLA_IFNAME: device.name.assign(reinterpret_cast<const char*>(data), bytes > 0 ? bytes - 1 : 0); break;
      case IFLA_GSO_MAX_SIZE: device.segments.gso_max_bytes = u32_of(data, bytes); break;
      case IFLA_GRO_MAX_SIZE: device.segments.gro_max_bytes = u32_of(data, bytes); break;
      case IFLA_TSO_MAX_SIZE: device.segments.tso_max_bytes = u32_of(data, bytes); break;
      case kIflaGsoIpv4MaxSize: device.segments.gso_v4_max_bytes = u32_of(data, bytes); break;
      case kIflaGroIpv4MaxSize: device.segments.gro_v4_max_bytes = u32_of(data, bytes); break;
      default: break;
    }
  });
  return device;
}

NetlinkRequest rule_request(std::uint16_t type, std::uint16_t flags, const RtNetlink::Rule& rule) {
  NetlinkRequest request(type, flags);
  fib_rule_hdr body{};
  body.family = static_cast<std::uint8_t>(rule.family);
  body.action = FR_ACT_TO_TBL;
  request.body(&body, sizeof(body));
  request.attribute_u32(FRA_PRIORITY, rule.priority);
  request.attribute_u32(FRA_FWMARK, rule.mark);
  request.attribute_u32(FRA_FWMASK, 0xffffffffU);
  request.attribute_u32(FRA_TABLE, rule.table);
  return request;
}

NetlinkRequest local_default_request(std::uint16_t type, std::uint16_t flags, std::uint32_t table, int family) {
  NetlinkRequest request(type, flags);
  rtmsg body{};
  body.rtm_family = static_cast<std::uint8_t>(family);
  body.rtm_table = RT_TABLE_UNSPEC;  // the attribute holds it: it may be above 255
  body.rtm_protocol = RTPROT_STATIC;
  body.rtm_scope = family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  body.rtm_type = RTN_LOCAL;
  request.body(&body, sizeof(body));
  request.attribute_u32(RTA_TABLE, table);
  request.attribute_u32(RTA_OIF, CV_LO_IFINDEX);
  return request;
}

}  // namespace

Result<std::vector<NetDevice>> RtNetlink::devices() {
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP);
  const ifinfomsg body{};
  request.body(&body, sizeof(body));
  std::vector<NetDevice> found;
  const int error = CV_TRY(exchange(request, [&](const nlmsghdr& message) {
    if (message.nlmsg_type == RTM_NEWLINK) found.push_back(device_of(message));
  }));
  if (error != 0) return fail_errno(error, "cannot list network devices");
  return found;
}

Result<NetDevice> RtNetlink::device(const std::string& name) {
  // Without NLM_F_ACK the kernel answers a successful GETLINK with the device alone, and exchange() would wait for ever.
  NetlinkRequest request(RTM_GETLINK, NLM_F_ACK);
  const ifinfomsg body{};
  request.body(&body, sizeof(body));
  request.attribute(IFLA_IFNAME, name.c_str(), name.size() + 1);
  std::optional<NetDevice> found;
  const int error = CV_TRY(exchange(request, [&](const nlmsghdr& message) {
    if (message.nlmsg_type == RTM_NEWLINK) found = device_of(message);
  }));
  if (error != 0 || !found) return fail_errno(error != 0 ? error : ENODEV, "no network device {}", name);
  return *found;
}

Result<void> RtNetlink::set_up(std::uint32_t ifindex) {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(ifindex);
  body.ifi_flags = IFF_UP;
  body.ifi_change = IFF_UP;
  request.body(&body, sizeof(body));
  if (const int error = CV_TRY(exchange(request)); error != 0)
    return fail_errno(error, "cannot set device {} up", ifindex);
  return {};
}

Result<void> RtNetlink::set_segments(std::uint32_t ifindex, const SegmentSizes& sizes) {
  NetlinkRequest request(RTM_NEWLINK, NLM_F_ACK);
  ifinfomsg body{};
  body.ifi_index = static_cast<int>(ifindex);
  request.body(&body, sizeof(body));
  if (sizes.gso_max_bytes != 0) request.attribute_u32(IFLA_GSO_MAX_SIZE, sizes.gso_max_bytes);
  if (sizes.gro_max_bytes != 0) request.attribute_u32(IFLA_GRO_MAX_SIZE, sizes.gro_max_bytes);
  if (sizes.gso_v4_max_bytes != 0) request.attribute_u32(kIflaGsoIpv4MaxSize, sizes.gso_v4_max_bytes);
  if (sizes.gro_v4_max_bytes != 0) request.attribute_u32(kIflaGroIpv4MaxSize, sizes.gro_v4_max_bytes);
  if (const int error = CV_TRY(exchange(request)); error != 0)
    return fail_errno(error, "cannot set segments of {} bytes on device {}", sizes.gso_max_bytes, ifindex);
  return {};
}

Result<void> RtNetlink::add_rule(const Rule& rule) {
  auto request = rule_request(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, rule);
  if (const int error = CV_TRY(exchange(request)); error != 0 && error != EEXIST)
    return fail_errno(error, "cannot add the rule fwmark {:#x} lookup {}", rule.mark, rule.table);
  return {};
}

Result<void> RtNetlink::remove_rule(const Rule& rule) {
  auto request = rule_request(RTM_DELRULE, NLM_F_ACK, rule);
  if (const int error = CV_TRY(exchange(request)); error != 0 && error != ENOENT && !is_family_absent(error))
    return fail_errno(error, "cannot remove the rule fwmark {:#x} lookup {}", rule.mark, rule.table);
  return {};
}

Result<bool> RtNetlink::has_rule(const Rule& rule) {
  NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP);
  fib_rule_hdr body{};
  body.family = static_cast<std::uint8_t>(rule.family);
  request.body(&body, sizeof(body));
  bool is_found = false;
  const int error = CV_TRY(exchange(request, [&](const nlmsghdr& message) {
    Rule seen{.family = body_of<fib_rule_hdr>(message).family};
    for_each_attribute(message, sizeof(fib_rule_hdr),
                       [&](std::uint16_t type, const std::uint8_t* data, std::size_t bytes) {
                         if (type == FRA_PRIORITY) seen.priority = u32_of(data, bytes);
                         if (type == FRA_FWMARK) seen.mark = u32_of(data, bytes);
                         if (type == FRA_TABLE) seen.table = u32_of(data, bytes);
                       });
    is_found |= seen.family == rule.family && seen.mark == rule.mark && seen.table == rule.table;
  }));
  if (error != 0) return fail_errno(error, "cannot list routing rules");
  return is_found;
}

Result<void> RtNetlink::add_local_default(std::uint32_t table, const IpAddress& source) {
  const int family = source.family();
  for (const bool has_source : {true, false}) {
    auto request = local_default_request(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, table, family);
    const auto wire = source.wire();
    if (has_source) request.attribute(RTA_PREFSRC, wire.data(), wire.size());
    const int error = CV_TRY(exchange(request));
    if (error == 0) return {};
    // IPv6 refuses an address that is still being checked for duplicates; without it the kernel chooses the source.
    if (has_source && error == EINVAL && family == AF_INET6) continue;
    return fail_errno(error, "cannot add the route `local default dev lo table {} src {}`", table, source.to_string());
  }
  return {};
}

Result<void> RtNetlink::remove_local_default(std::uint32_t table, int family) {
  auto request = local_default_request(RTM_DELROUTE, NLM_F_ACK, table, family);
  const int error = CV_TRY(exchange(request));
  if (error != 0 && error != ESRCH && error != ENOENT && !is_family_absent(error))
    return fail_errno(error, "cannot remove the local route of table {}", table);
  return {};
}

Result<bool> RtNetlink::has_local_default(std::uint32_t table, int family) {
  NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP);
  rtmsg body{};
  body.rtm_family = static_cast<std::uint8_t>(family);
  request.body(&body, sizeof(body));
  bool is_found = false;
  const int error = CV_TRY(exchange(request, [&](const nlmsghdr& message) {
    const auto route = body_of<rtmsg>(message);
    std::uint32_t seen_table = route.rtm_table;
    for_each_attribute(message, sizeof(rtmsg), [&](std::uint16_t type, const std::uint8_t* data, std::size_t bytes) {
      if (type == RTA_TABLE) seen_table = u32_of(data, bytes);
    });
    is_found |=
        route.rtm_family == family && seen_table == table && route.rtm_dst_len == 0 && route.rtm_type == RTN_LOCAL;
  }));
  if (error != 0) return fail_errno(error, "cannot list routes");
  return is_found;
}

Result<bool> RtNetlink::has_filters(std::uint32_t ifindex, std::uint32_t parent) {
  NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP);
  tcmsg body{};
  body.tcm_family = AF_UNSPEC;
  body.tcm_ifindex = static_cast<int>(ifindex);
  body.tcm_parent = parent;
  request.body(&body, sizeof(body));
  bool is_found = false;
  const int error =
      CV_TRY(exchange(request, [&](const nlmsghdr& message) { is_found |= message.nlmsg_type == RTM_NEWTFILTER; }));
  if (error != 0 && error != EINVAL && error != ENOENT)
    return fail_errno(error, "cannot list tc filters of device {}", ifindex);
  return is_found;
}

}  // namespace culvert::datapath
