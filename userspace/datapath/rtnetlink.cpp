// SPDX-License-Identifier: Apache-2.0
#include "datapath/rtnetlink.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace culvert::datapath {

NetlinkRequest::NetlinkRequest(std::uint16_t type, std::uint16_t flags) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  append(&header, sizeof(header));
}

void NetlinkRequest::append(const void* data, std::size_t bytes) {
  const auto* begin = static_cast<const std::uint8_t*>(data);
  buffer_.insert(buffer_.end(), begin, begin + bytes);
  buffer_.resize((buffer_.size() + NLMSG_ALIGNTO - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO);
  const auto length = static_cast<std::uint32_t>(buffer_.size());
  std::memcpy(buffer_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof(length));
}

void NetlinkRequest::body(const void* data, std::size_t bytes) { append(data, bytes); }

void NetlinkRequest::attribute(std::uint16_t type, const void* data, std::size_t bytes) {
  nlattr header{};
  header.nla_len = static_cast<std::uint16_t>(sizeof(header) + bytes);
  header.nla_type = type;
  append(&header, sizeof(header));
  append(data, bytes);
}

void NetlinkRequest::set_sequence(std::uint32_t sequence) noexcept {
  std::memcpy(buffer_.data() + offsetof(nlmsghdr, nlmsg_seq), &sequence, sizeof(sequence));
}

Result<RtNetlink> RtNetlink::open() {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return fail_errno(errno, "cannot open a netlink socket");
  return RtNetlink(std::move(fd));
}

namespace {
// The whole answer of one recv: true when the exchange is over, with the kernel's errno in `answer`.
bool read_messages(std::span<std::uint8_t> data, std::uint32_t sequence,
                   const std::function<void(const nlmsghdr&)>& visit, int& answer) {
  while (data.size() >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, data.data(), sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > data.size()) break;
    if (header.nlmsg_seq == sequence) {
      if (header.nlmsg_type == NLMSG_DONE) return true;
      if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        std::memcpy(&error, data.data() + NLMSG_HDRLEN, sizeof(error.error));
        answer = -error.error;
        return true;
      }
      if (visit) visit(*reinterpret_cast<const nlmsghdr*>(data.data()));
    }
    const std::size_t step = (header.nlmsg_len + std::size_t{NLMSG_ALIGNTO} - 1) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
    data = data.subspan(std::min(step, data.size()));
  }
  return false;
}
}  // namespace

Result<int> RtNetlink::exchange(NetlinkRequest& request, const Visitor& visit) {
  request.set_sequence(++sequence_);
  const auto bytes = request.bytes();
  if (::send(fd_.get(), bytes.data(), bytes.size(), 0) < 0) return fail_errno(errno, "cannot send to netlink");
  alignas(nlmsghdr) std::array<std::uint8_t, 32768> buffer;
  for (;;) {
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(errno, "cannot read from netlink");
    int answer = 0;
    if (read_messages(std::span(buffer).first(static_cast<std::size_t>(got)), sequence_, visit, answer)) return answer;
  }
}

}  // namespace culvert::datapath
