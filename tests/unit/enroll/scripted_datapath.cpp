// SPDX-License-Identifier: Apache-2.0
#include "scripted_datapath.hpp"

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>

namespace culvert::testing {

unsigned Kernel::count(const std::string& name) const { return static_cast<unsigned>(std::ranges::count(calls, name)); }

Kernel& kernel() {
  static Kernel the_kernel;
  return the_kernel;
}

std::unique_ptr<datapath::Datapath> fresh_datapath() {
  kernel() = Kernel();
  return reopened_datapath();
}
std::unique_ptr<datapath::Datapath> reopened_datapath() { return datapath::Datapath::open({}).value(); }

}  // namespace culvert::testing

namespace culvert::datapath {
namespace {

using testing::kernel;

Result<void> note(const char* name) {
  kernel().calls.emplace_back(name);
  if (kernel().fails_at == name) return fail_errno(EPERM, "scripted failure of {}", name);
  return {};
}

bool is_listening(int fd) {
  int value = 0;
  socklen_t length = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value != 0;
}

}  // namespace

struct Datapath::State {};

Datapath::Datapath(std::unique_ptr<State> state) : state_(std::move(state)) {}
Datapath::~Datapath() = default;

Result<std::unique_ptr<Datapath>> Datapath::open(const Options&) {
  kernel().used_slots.clear();
  for (const auto& [slot, plan] : kernel().attached) kernel().used_slots.insert(slot);
  return std::unique_ptr<Datapath>(new Datapath(nullptr));
}

int SocketMarker::mark_agent(int socket_fd) const noexcept {
  ++(is_listening(socket_fd) ? kernel().marked_too_late : kernel().marked_before_listen);
  return kernel().fails_at == "mark" ? EPERM : 0;
}

bool Datapath::has_programs() const noexcept { return true; }

SocketMarker Datapath::socket_marker() const noexcept { return SocketMarker(-1); }

std::vector<PinnedPod> Datapath::pinned_pods() const {
  std::vector<PinnedPod> pods;
  for (const auto& [slot, plan] : kernel().attached) pods.push_back({slot, plan.netns_cookie});
  return pods;
}

Result<std::uint32_t> Datapath::allocate_slot() {
  CV_TRY(note("allocate"));
  const std::uint32_t slot = ++kernel().last_slot;
  kernel().used_slots.insert(slot);
  return slot;
}
void Datapath::release_slot(std::uint32_t slot) noexcept { kernel().used_slots.erase(slot); }

Result<void> Datapath::attach_pod(const PodPlan& plan, int, int) {
  CV_TRY(note("attach"));
  kernel().attached[plan.slot] = plan;
  kernel().stopped.erase(plan.slot);
  return {};
}

Result<void> Datapath::settle_pod(const PodPlan& plan, int, int) {
  CV_TRY(note("settle"));
  return kernel().attached.contains(plan.slot) ? Result<void>{} : fail(ErrorCode::NotFound, "no pod to settle");
}

Result<void> Datapath::set_listener(std::uint32_t slot, ListenerRole role, int family, int listener_fd) {
  CV_TRY(note("listener"));
  if (!is_listening(listener_fd)) return fail(ErrorCode::InvalidArgument, "not a listener");
  kernel().listeners.insert({slot, family * 2 + static_cast<int>(role)});
  return {};
}

Result<void> Datapath::verify_pod(const PodPlan& plan, int, int) const {
  CV_TRY(note("verify"));
  const auto attached = kernel().attached.find(plan.slot);
  if (attached == kernel().attached.end() || attached->second.devices != plan.devices)
    return fail(ErrorCode::NotFound, "no hook");
  return {};
}

Result<void> Datapath::stop_capture(std::uint32_t slot) {
  CV_TRY(note("stop"));
  kernel().stopped.insert(slot);
  return {};
}

Result<void> Datapath::detach_pod(std::uint32_t slot, int, int) {
  CV_TRY(note("detach"));
  kernel().attached.erase(slot);
  kernel().stopped.erase(slot);
  std::erase_if(kernel().listeners, [slot](const auto& listener) { return listener.first == slot; });
  return {};
}

}  // namespace culvert::datapath
