// SPDX-License-Identifier: Apache-2.0
#include "dns/resolver.hpp"

#include <ares.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "base/clock.hpp"
#include "dns/name_cache.hpp"

namespace culvert::dns {
namespace {

constexpr std::size_t kNameMax = 253;
constexpr std::size_t kQuestionsMax = 4096;  // out at once; more are answered with nothing
constexpr std::uint64_t kFileLookMs = 5'000;
constexpr int kTryMs = 1'500;
constexpr int kTries = 3;
constexpr const char* kResolvConf = "/etc/resolv.conf";

// c-ares has a global state; it is set up once and never given back, as its manual has it for programs that end with it.
bool has_library() {
  static const bool is_ready = ::ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
  return is_ready;
}

std::int64_t changed_at(const char* path) noexcept {
  struct stat info{};
  return ::stat(path, &info) == 0 ? info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec : 0;
}

// Loopback and the like would lead into the asking pod itself, or to the agent's own ports there.
bool can_be_dialled(const IpAddress& address) { return !address.is_loopback() && !address.is_unspecified(); }

std::uint64_t ttl_ms_of(int ttl_s) { return static_cast<std::uint64_t>(std::max(ttl_s, 0)) * 1'000U; }

}  // namespace

struct Resolver::State {
  State(Reactor& loop, Options chosen) : reactor(loop), options(std::move(chosen)) {}
  ~State();

  struct Question {
    State* owner;
    std::string name;
    std::vector<Callback> waiting;
    Reactor::TimerId timer = 0;
  };

  bool open_channel();
  void close_channel();
  void follow_file();
  void socket_changed(int fd, bool wants_read, bool wants_write);
  void process(int fd, std::uint32_t events);
  void process_ready(int read_fd, int write_fd);
  void schedule();
  void ask(Question& question);
  void limit(Question& question);
  void answered(Question& question, int status, ares_addrinfo* result);
  static void answer(std::vector<Callback> waiting, const std::vector<IpAddress>& addresses) {
    for (const Callback& done : waiting) done(addresses);
  }

  Reactor& reactor;
  Options options;
  NameCache cache;
  ares_channel channel = nullptr;
  std::unordered_map<std::string, std::unique_ptr<Question>> questions;
  std::unordered_map<int, std::uint32_t> watched;
  Reactor::TimerId timer = 0;
  std::uint64_t file_looked_ms = 0;
  std::int64_t file_changed = 0;
  bool is_closing = false;
  int depth = 0;  // calls of c-ares that are under way: from their callbacks the channel cannot be closed
};

Resolver::State::~State() {
  close_channel();
  for (const auto& [name, question] : questions) reactor.cancel(question->timer);
}

bool Resolver::State::open_channel() {
  if (channel != nullptr) return true;
  if (!has_library()) return false;
  ares_options chosen{};
  chosen.flags = ARES_FLAG_NOSEARCH;
  chosen.timeout = kTryMs;
  chosen.tries = kTries;
  chosen.sock_state_cb = [](void* self, ares_socket_t fd, int wants_read, int wants_write) {
    static_cast<State*>(self)->socket_changed(fd, wants_read != 0, wants_write != 0);
  };
  chosen.sock_state_cb_data = this;
  const int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
  file_changed = changed_at(kResolvConf);
  if (::ares_init_options(&channel, &chosen, mask) != ARES_SUCCESS) {
    channel = nullptr;
    return false;
  }
  if (!options.servers.empty() && ::ares_set_servers_ports_csv(channel, options.servers.c_str()) != ARES_SUCCESS) {
    close_channel();
    return false;
  }
  return true;
}

void Resolver::State::close_channel() {
  is_closing = true;
  if (channel != nullptr) ::ares_destroy(std::exchange(channel, nullptr));
  is_closing = false;
  for (const auto& [fd, events] : watched) reactor.unwatch(fd);
  watched.clear();
  if (timer != 0) reactor.cancel(std::exchange(timer, 0));
}

// Looked at now and then, and only while nothing is out, so that no question is lost.
void Resolver::State::follow_file() {
  const std::uint64_t now_ms = monotonic_ms();
  if (channel == nullptr || depth > 0 || !questions.empty() || now_ms < file_looked_ms + kFileLookMs) return;
  file_looked_ms = now_ms;
  if (changed_at(kResolvConf) != file_changed) close_channel();
}

void Resolver::State::socket_changed(int fd, bool wants_read, bool wants_write) {
  const std::uint32_t events = (wants_read ? EPOLLIN : 0U) | (wants_write ? EPOLLOUT : 0U);
  const auto place = watched.find(fd);
  if (events == 0) {
    if (place == watched.end()) return;
    reactor.unwatch(fd);
    watched.erase(place);
  } else if (place == watched.end()) {
    if (reactor.watch(fd, events, [this, fd](std::uint32_t seen) { process(fd, seen); })) watched.emplace(fd, events);
  } else if (place->second != events && reactor.modify(fd, events)) {
    place->second = events;
  }
}

void Resolver::State::process(int fd, std::uint32_t events) {
  const bool may_read = (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
  const bool may_write = (events & EPOLLOUT) != 0;
  process_ready(may_read ? fd : ARES_SOCKET_BAD, may_write ? fd : ARES_SOCKET_BAD);
}

void Resolver::State::process_ready(int read_fd, int write_fd) {
  ++depth;
  ::ares_process_fd(channel, read_fd, write_fd);
  --depth;
  schedule();
}

// When c-ares wants to look at its own time limits.
void Resolver::State::schedule() {
  if (timer != 0) reactor.cancel(std::exchange(timer, 0));
  timeval due{};
  if (channel == nullptr || ::ares_timeout(channel, nullptr, &due) == nullptr) return;
  const auto due_ms =
      static_cast<std::uint64_t>(due.tv_sec) * 1'000U + static_cast<std::uint64_t>(due.tv_usec) / 1'000U;
  timer = reactor.after_ms(due_ms + 1, [this] {
    timer = 0;
    process_ready(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  });
}

// Those who wait get nothing when their time is over; a late answer is still kept for the next who asks.
void Resolver::State::limit(Question& question) {
  question.timer = reactor.after_ms(options.timeout_ms, [&question] {
    question.timer = 0;
    answer(std::exchange(question.waiting, {}), {});
  });
}

void Resolver::State::ask(Question& question) {
  limit(question);
  ares_addrinfo_hints hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = ARES_AI_NOSORT;
  ++depth;
  ::ares_getaddrinfo(
      channel, question.name.c_str(), nullptr, &hints,
      [](void* data, int status, int, ares_addrinfo* result) {
        Question& asked = *static_cast<Question*>(data);
        asked.owner->answered(asked, status, result);
      },
      &question);
  --depth;
  schedule();
}

void Resolver::State::answered(Question& question, int status, ares_addrinfo* result) {
  const std::unique_ptr<ares_addrinfo, decltype(&::ares_freeaddrinfo)> owned(result, &::ares_freeaddrinfo);
  if (is_closing) return;  // the owner ends, or the channel could not be set up
  std::vector<IpAddress> addresses;
  std::uint64_t ttl_ms = NameCache::kTtlMaxMs;
  for (const ares_addrinfo_cname* alias = result == nullptr ? nullptr : result->cnames; alias != nullptr;
       alias = alias->next) {
    ttl_ms = std::min(ttl_ms, ttl_ms_of(alias->ttl));
  }
  for (const ares_addrinfo_node* node = result == nullptr ? nullptr : result->nodes; node != nullptr;
       node = node->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, node->ai_addr, std::min<std::size_t>(node->ai_addrlen, sizeof(storage)));
    const IpAddress address = Endpoint::from_sockaddr(storage).address;
    if (!can_be_dialled(address)) continue;
    addresses.push_back(address);
    ttl_ms = std::min(ttl_ms, ttl_ms_of(node->ai_ttl));
  }
  const bool is_known = status == ARES_SUCCESS || status == ARES_ENOTFOUND || status == ARES_ENODATA;
  if (is_known) cache.keep(question.name, addresses, ttl_ms, monotonic_ms());
  if (question.timer != 0) reactor.cancel(question.timer);
  auto node = questions.extract(question.name);
  answer(std::move(node.mapped()->waiting), addresses);
}

Resolver::Resolver(Reactor& reactor, Options options) : state_(std::make_unique<State>(reactor, std::move(options))) {}
Resolver::~Resolver() = default;

void Resolver::resolve(const std::string& name, Callback done) {
  State& state = *state_;
  if (const std::vector<IpAddress>* known = state.cache.find(name, monotonic_ms())) {
    const std::vector<IpAddress> addresses = *known;  // the callback may ask again
    return done(addresses);
  }
  if (const auto asked = state.questions.find(name); asked != state.questions.end()) {
    asked->second->waiting.push_back(std::move(done));
    if (asked->second->timer == 0)
      state.limit(*asked->second);  // its time was over before; those that come now get theirs
    return;
  }
  state.follow_file();
  if (name.empty() || name.size() > kNameMax || state.questions.size() >= kQuestionsMax || !state.open_channel())
    return done({});
  auto made = std::make_unique<State::Question>(State::Question{&state, name, {}, 0});
  made->waiting.push_back(std::move(done));
  State::Question& question = *state.questions.emplace(name, std::move(made)).first->second;
  state.ask(question);
}

}  // namespace culvert::dns
