// SPDX-License-Identifier: Apache-2.0
#include "agent_client.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace culvert::cni_plugin {
namespace {

constexpr std::uint64_t kRetryMs = 50;

Result<UniqueFd> connect_once(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::InvalidArgument, "the agent's socket {} has a path of more than {} bytes", path,
                sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "cannot make a unix socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  // EAGAIN: its queue is full. The others: no agent, not yet one, or no longer one.
  const int error = errno;
  if (error == EAGAIN || error == ECONNREFUSED || error == ENOENT || error == ENOTDIR) {
    return fail(ErrorCode::Unavailable, "no agent answers on {} ({})", path, ::strerrordesc_np(error));
  }
  return fail_errno(error, "cannot connect to the agent's socket {}", path);
}

Result<UniqueFd> connect_patiently(const std::string& path, const AgentPatience& patience) {
  bool is_first = true;
  for (;;) {
    auto fd = connect_once(path);
    if (fd || fd.error().code() != ErrorCode::Unavailable) return fd;
    if (is_first && patience.gives_up && patience.gives_up()) return fd;
    is_first = false;
    const std::uint64_t now = monotonic_ms();
    if (now >= patience.connect_until_ms) return fd;
    ::poll(nullptr, 0, static_cast<int>(std::min(kRetryMs, patience.connect_until_ms - now)));
  }
}

Result<void> send_request(int fd, std::string_view packet, int descriptor) {
  iovec span{.iov_base = const_cast<char*>(packet.data()), .iov_len = packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &span;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  // The first packet on a fresh connection finds an empty buffer: it goes out whole or fails.
  if (::sendmsg(fd, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(packet.size())) return {};
  const int error = errno;
  // An agent that refuses us at the door closes at once; its answer may still be there to read.
  if (error == EPIPE || error == ECONNRESET) return {};
  return fail_errno(error, "cannot send the request to the agent");
}

Result<std::string> receive_answer(int fd, std::uint64_t until_ms) {
  for (;;) {
    const std::uint64_t now = monotonic_ms();
    if (now >= until_ms) return fail(ErrorCode::Timeout, "the agent did not answer in time");
    pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(until_ms - now));
    if (ready < 0 && errno != EINTR) return fail_errno(errno, "cannot wait for the agent's answer");
    if (ready <= 0) continue;
    std::string packet(cni::kMessageBytesMax, '\0');
    const ssize_t got = ::recv(fd, packet.data(), packet.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return fail(ErrorCode::Unavailable, "the agent closed the connection without an answer");
    if (static_cast<std::size_t>(got) > packet.size())
      return fail(ErrorCode::Protocol, "the agent's answer has {} bytes", got);
    packet.resize(static_cast<std::size_t>(got));
    return packet;
  }
}

}  // namespace

Result<cni::Answer> ask_agent(const std::string& socket_path, const cni::Request& request, int descriptor,
                              const AgentPatience& patience) {
  const std::string packet = CV_TRY(cni::encode(request));
  const UniqueFd fd = CV_TRY(connect_patiently(socket_path, patience));
  CV_TRY(send_request(fd.get(), packet, descriptor));
  return cni::decode_answer(CV_TRY(receive_answer(fd.get(), patience.answer_until_ms)));
}

}  // namespace culvert::cni_plugin
