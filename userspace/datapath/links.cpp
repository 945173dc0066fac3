// SPDX-License-Identifier: Apache-2.0
#include "datapath/links.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <bpf/bpf.h>
#include <unistd.h>

namespace culvert::datapath {
namespace {

// The target that a link reports. A link whose namespace or device is gone reports 0.
Result<std::uint32_t> target_of(int link_fd) {
  bpf_link_info info{};
  __u32 bytes = sizeof(info);
  if (bpf_obj_get_info_by_fd(link_fd, &info, &bytes) != 0) return fail_errno(errno, "cannot ask a BPF link");
  // netns and tcx both begin their part with the number that is wanted (struct bpf_link_info, 5.10 and 6.6).
  return info.netns.netns_ino;
}

}  // namespace

Result<UniqueFd> create_link(int program_fd, int target, std::uint32_t attach_type) {
  const int fd = bpf_link_create(program_fd, target, static_cast<bpf_attach_type>(attach_type), nullptr);
  if (fd < 0) return fail_errno(-fd, "cannot attach a BPF program");
  return UniqueFd(fd);
}

Result<void> verify_link(const LinkSpec& spec) {
  const UniqueFd link(bpf_obj_get(spec.pin.c_str()));
  if (!link) return fail_errno(errno, "no hook at {}", spec.pin);
  const std::uint32_t target = CV_TRY(target_of(link.get()));
  if (spec.target_id != 0 && target != spec.target_id)
    return fail(ErrorCode::NotFound, "the hook at {} is attached to {}, not to {}", spec.pin, target, spec.target_id);
  return {};
}

bool update_link(const LinkSpec& spec) noexcept {
  if (!verify_link(spec)) return false;
  const UniqueFd link(bpf_obj_get(spec.pin.c_str()));
  return link && bpf_link_update(link.get(), spec.program_fd, nullptr) == 0;
}

Result<void> ensure_link(const LinkSpec& spec) {
  if (update_link(spec)) return {};
  // Made anew before the old one is let go, so that there is no gap here either.
  const UniqueFd link = CV_TRY(create_link(spec.program_fd, spec.target, spec.attach_type));
  remove_pin(spec.pin);
  if (bpf_obj_pin(link.get(), spec.pin.c_str()) != 0) return fail_errno(errno, "cannot pin a hook at {}", spec.pin);
  return {};
}

void remove_pin(const std::string& path) noexcept { ::unlink(path.c_str()); }

void remove_pin_tree(const std::string& path) noexcept {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace culvert::datapath
