// SPDX-License-Identifier: Apache-2.0
#include "enroll/netns_probe.hpp"

#include <cerrno>
#include <memory>

#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netpacket/packet.h>
#include <sys/stat.h>

namespace culvert::enroll {
namespace {

constexpr unsigned short kArpHardwareIp6Gre = 823;  // ARPHRD_IP6GRE, which the C library does not have

// Loading ipip, sit, gre and the like gives every namespace a device of the kind that is down for ever. A pod's own tunnel is up.
bool is_idle_tunnel(const ifaddrs& entry) noexcept {
  if (entry.ifa_addr == nullptr || entry.ifa_addr->sa_family != AF_PACKET || (entry.ifa_flags & IFF_UP) != 0)
    return false;
  switch (reinterpret_cast<const sockaddr_ll*>(entry.ifa_addr)->sll_hatype) {
    case ARPHRD_TUNNEL:
    case ARPHRD_TUNNEL6:
    case ARPHRD_SIT:
    case ARPHRD_IPGRE:
    case kArpHardwareIp6Gre: return true;
    default: return false;
  }
}

bool is_global(const IpAddress& address) noexcept {
  static const Cidr kLinkLocal4 = Cidr::parse("169.254.0.0/16").value();
  static const Cidr kLinkLocal6 = Cidr::parse("fe80::/10").value();
  const Cidr& link_local = address.is_v4() ? kLinkLocal4 : kLinkLocal6;
  return !address.is_loopback() && !address.is_unspecified() && !link_local.contains(address);
}

// Whether an error says that the thing is not there, rather than that we could not look (no descriptor left, no permission).
bool says_gone(const Error& error) noexcept {
  if (error.code() != ErrorCode::System) return true;
  return error.sys_errno() == ENOENT || error.sys_errno() == ENOTDIR || error.sys_errno() == ESRCH;
}

Result<UniqueFd> open_if_same(const std::string& path, const NetnsId& id, std::uint64_t cookie) {
  UniqueFd fd = CV_TRY(open_netns(path));
  const NetnsId found = CV_TRY(netns_id(fd.get()));
  // The inode number comes back after a namespace has ended, the cookie never.
  if (found == id && CV_TRY(netns_cookie(fd.get())) == cookie) return fd;
  return fail(ErrorCode::NotFound, "{} is another network namespace than the one that was joined", path);
}

}  // namespace

Result<NetnsContent> read_netns(int netns_fd, int home_netns_fd) {
  const NetnsGuard guard = CV_TRY(NetnsGuard::enter(netns_fd, home_netns_fd));
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return fail_errno(errno, "cannot list the devices of the pod's network namespace");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(list, ::freeifaddrs);
  NetnsContent content;
  std::vector<IpAddress> v6;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if ((entry->ifa_flags & IFF_LOOPBACK) != 0 || entry->ifa_addr == nullptr) continue;
    if (entry->ifa_addr->sa_family == AF_PACKET) {
      if (!is_idle_tunnel(*entry)) content.devices.emplace_back(entry->ifa_name);
    } else if (entry->ifa_addr->sa_family == AF_INET) {
      content.addresses.push_back(IpAddress::v4(reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr));
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      v6.push_back(IpAddress::v6(reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr));
    }
  }
  content.addresses.insert(content.addresses.end(), v6.begin(), v6.end());
  std::erase_if(content.addresses, [](const IpAddress& address) { return !is_global(address); });
  return content;
}

Result<UniqueFd> find_netns(const std::string& path, const NetnsId& id, std::uint64_t cookie) {
  auto by_path = open_if_same(path, id, cookie);
  if (by_path || !says_gone(by_path.error())) return by_path;
  const std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
  while (const dirent* entry = processes ? ::readdir(processes.get()) : nullptr) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    const std::string candidate = fmt::format("/proc/{}/ns/net", static_cast<const char*>(entry->d_name));
    struct stat status{};
    if (::stat(candidate.c_str(), &status) != 0 || status.st_ino != id.inode || status.st_dev != id.device) continue;
    auto by_process = open_if_same(candidate, id, cookie);
    if (by_process || !says_gone(by_process.error())) return by_process;
  }
  return fail(ErrorCode::NotFound, "the network namespace {} is gone", path);
}

}  // namespace culvert::enroll
