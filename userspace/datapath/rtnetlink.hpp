// SPDX-License-Identifier: Apache-2.0
// The little of rtnetlink that preparing a pod needs: devices, rules, routes, segment sizes. A socket belongs to the namespace in which
// it was opened and works from anywhere. Control thread; each call waits for the kernel's answer, which comes at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <linux/netlink.h>

#include "base/address.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace culvert::datapath {

// One request: a netlink header, a fixed body and attributes.
class NetlinkRequest {
 public:
  NetlinkRequest(std::uint16_t type, std::uint16_t flags);
  // Appends the family's fixed body; before any attribute.
  void body(const void* data, std::size_t bytes);
  void attribute(std::uint16_t type, const void* data, std::size_t bytes);
  void attribute_u32(std::uint16_t type, std::uint32_t value) { attribute(type, &value, sizeof(value)); }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return buffer_; }
  void set_sequence(std::uint32_t sequence) noexcept;

 private:
  void append(const void* data, std::size_t bytes);
  std::vector<std::uint8_t> buffer_;
};

// Segment sizes of a device; 0 where this kernel has no such attribute.
struct SegmentSizes {
  std::uint32_t gso_max_bytes = 0;
  std::uint32_t gro_max_bytes = 0;
  std::uint32_t gso_v4_max_bytes = 0;
  std::uint32_t gro_v4_max_bytes = 0;
  std::uint32_t tso_max_bytes = 0;  // the bound of the others, from 5.19
  bool operator==(const SegmentSizes&) const noexcept = default;
};

struct NetDevice {
  std::string name;
  std::uint32_t ifindex = 0;
  std::uint16_t hardware_type = 0;  // ARPHRD_*
  bool is_up = false;
  SegmentSizes segments;
};

class RtNetlink {
 public:
  // In the calling thread's namespace.
  [[nodiscard]] static Result<RtNetlink> open();

  [[nodiscard]] Result<std::vector<NetDevice>> devices();
  [[nodiscard]] Result<NetDevice> device(const std::string& name);
  [[nodiscard]] Result<void> set_up(std::uint32_t ifindex);
  // Zero fields are left alone.
  [[nodiscard]] Result<void> set_segments(std::uint32_t ifindex, const SegmentSizes& sizes);

  struct Rule {
    int family = 0;
    std::uint32_t mark = 0;
    std::uint32_t table = 0;
    std::uint32_t priority = 0;
  };
  // Adding what is there, and removing what is not, succeed.
  [[nodiscard]] Result<void> add_rule(const Rule& rule);
  [[nodiscard]] Result<void> remove_rule(const Rule& rule);
  [[nodiscard]] Result<bool> has_rule(const Rule& rule);

  // `local default dev lo table TABLE src SOURCE`.
  [[nodiscard]] Result<void> add_local_default(std::uint32_t table, const IpAddress& source);
  [[nodiscard]] Result<void> remove_local_default(std::uint32_t table, int family);
  [[nodiscard]] Result<bool> has_local_default(std::uint32_t table, int family);

  // Whether a tc filter hangs on `parent` (TC_H_MAKE(TC_H_CLSACT, ...)) of the device.
  [[nodiscard]] Result<bool> has_filters(std::uint32_t ifindex, std::uint32_t parent);

 private:
  explicit RtNetlink(UniqueFd fd) : fd_(std::move(fd)) {}
  // Sends and reads until the acknowledgement or the end of the dump. 0 or the errno the kernel answers; `visit` sees every
  // message that is neither.
  using Visitor = std::function<void(const nlmsghdr&)>;
  [[nodiscard]] Result<int> exchange(NetlinkRequest& request, const Visitor& visit = {});

  UniqueFd fd_;
  std::uint32_t sequence_ = 0;
};

}  // namespace culvert::datapath
