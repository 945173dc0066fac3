// SPDX-License-Identifier: Apache-2.0
#include "dns/forwarder.hpp"

#include <ares.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace culvert::dns {
namespace {

// Some servers' worth of tries within the 5 s that a client's resolver usually waits.
constexpr int kTryMs = 1'500;
constexpr int kTries = 2;
constexpr std::uint64_t kFileLookMs = 5'000;
constexpr const char* kResolvConf = "/etc/resolv.conf";

bool has_library() {
  static const bool is_ready = ::ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
  return is_ready;
}

std::int64_t changed_at(const char* path) noexcept {
  struct stat info{};
  return ::stat(path, &info) == 0 ? info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec : 0;
}

}  // namespace

struct Forwarder::State {
  State(Reactor& loop, SocketMaker maker) : reactor(loop), make_socket(std::move(maker)) {}
  ~State() { close_channel(); }

  struct Question {
    State* owner;
    std::uint16_t id;
    Callback done;
  };

  bool open_channel();
  void close_channel();
  void follow_file();
  void socket_changed(int fd, bool wants_read, bool wants_write);
  void process(int read_fd, int write_fd);
  void schedule();
  void answered(Question* question, int status, ByteView answer);

  Reactor& reactor;
  SocketMaker make_socket;
  ares_channel channel = nullptr;
  std::unordered_map<std::uint16_t, std::unique_ptr<Question>> questions;  // by the id that they have on the way
  std::unordered_map<int, std::uint32_t> watched;
  std::mt19937 random{std::random_device{}()};
  Reactor::TimerId timer = 0;
  std::uint64_t file_looked_ms = 0;
  std::int64_t file_changed = 0;
  bool is_closing = false;
  int depth = 0;  // calls of c-ares that are under way
};

bool Forwarder::State::open_channel() {
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
  file_changed = changed_at(kResolvConf);
  if (::ares_init_options(&channel, &chosen,
                          ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
      ARES_SUCCESS) {
    channel = nullptr;
    return false;
  }
  static constexpr ares_socket_functions kFunctions = {
      .asocket = [](int family, int type, int, void* self) -> ares_socket_t {
        const int fd = static_cast<State*>(self)->make_socket(family, type);
        if (fd < 0) errno = -fd;
        return fd < 0 ? ARES_SOCKET_BAD : fd;
      },
      .aclose = [](ares_socket_t fd, void*) { return ::close(fd); },
      .aconnect = [](ares_socket_t fd, const sockaddr* address, ares_socklen_t size,
                     void*) { return ::connect(fd, address, size); },
      .arecvfrom = [](ares_socket_t fd, void* data, std::size_t size, int flags, sockaddr* from,
                      ares_socklen_t* from_size,
                      void*) -> ares_ssize_t { return ::recvfrom(fd, data, size, flags, from, from_size); },
      .asendv = [](ares_socket_t fd, const iovec* parts, int count, void*) -> ares_ssize_t {
        return ::writev(fd, parts, count);
      },
  };
  ::ares_set_socket_functions(channel, &kFunctions, this);
  return true;
}

void Forwarder::State::close_channel() {
  is_closing = true;
  if (channel != nullptr) ::ares_destroy(std::exchange(channel, nullptr));
  is_closing = false;
  for (const auto& [fd, events] : watched) reactor.unwatch(fd);
  watched.clear();
  questions.clear();
  if (timer != 0) reactor.cancel(std::exchange(timer, 0));
}

// Looked at now and then, and only while nothing is out.
void Forwarder::State::follow_file() {
  const std::uint64_t now_ms = monotonic_ms();
  if (channel == nullptr || depth > 0 || !questions.empty() || now_ms < file_looked_ms + kFileLookMs) return;
  file_looked_ms = now_ms;
  if (changed_at(kResolvConf) != file_changed) close_channel();
}

void Forwarder::State::socket_changed(int fd, bool wants_read, bool wants_write) {
  const std::uint32_t events = (wants_read ? EPOLLIN : 0U) | (wants_write ? EPOLLOUT : 0U);
  const auto place = watched.find(fd);
  if (events == 0) {
    if (place == watched.end()) return;
    reactor.unwatch(fd);
    watched.erase(place);
  } else if (place == watched.end()) {
    const auto ready = [this, fd](std::uint32_t seen) {
      process((seen & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 ? fd : ARES_SOCKET_BAD,
              (seen & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
    };
    if (reactor.watch(fd, events, ready)) watched.emplace(fd, events);
  } else if (place->second != events && reactor.modify(fd, events)) {
    place->second = events;
  }
}

void Forwarder::State::process(int read_fd, int write_fd) {
  ++depth;
  ::ares_process_fd(channel, read_fd, write_fd);
  --depth;
  schedule();
}

void Forwarder::State::schedule() {
  if (timer != 0) reactor.cancel(std::exchange(timer, 0));
  timeval due{};
  if (channel == nullptr || ::ares_timeout(channel, nullptr, &due) == nullptr) return;
  const auto due_ms =
      static_cast<std::uint64_t>(due.tv_sec) * 1'000U + static_cast<std::uint64_t>(due.tv_usec) / 1'000U;
  timer = reactor.after_ms(due_ms + 1, [this] {
    timer = 0;
    process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  });
}

void Forwarder::State::answered(Question* question, int status, ByteView answer) {
  if (is_closing) return;
  const auto owned = questions.extract(question->id);
  const Callback& done = owned.mapped()->done;
  switch (status) {
    case ARES_SUCCESS: return done(answer, Rcode::NoError, nullptr);
    case ARES_ENOTIMP: return done({}, Rcode::NotImp, ::ares_strerror(status));
    case ARES_EREFUSED: return done({}, Rcode::Refused, ::ares_strerror(status));
    case ARES_EFORMERR: return done({}, Rcode::FormErr, ::ares_strerror(status));
    default: return done({}, Rcode::ServFail, ::ares_strerror(status));
  }
}

Forwarder::Forwarder(Reactor& reactor, SocketMaker make_socket)
    : state_(std::make_unique<State>(reactor, std::move(make_socket))) {}
Forwarder::~Forwarder() = default;

void Forwarder::ask(ByteView packet, Callback done) {
  State& state = *state_;
  state.follow_file();
  if (state.questions.size() >= kQuestionsMax) return done({}, Rcode::ServFail, "too many questions are out");
  if (!state.open_channel()) return done({}, Rcode::ServFail, "c-ares cannot be set up");
  // c-ares sends the id that it is given: one that nobody can guess, and that is not out.
  std::uint16_t id = 0;
  do {
    id = static_cast<std::uint16_t>(state.random());
  } while (state.questions.contains(id));
  std::vector<std::uint8_t> question(packet.begin(), packet.end());
  question[0] = static_cast<std::uint8_t>(id >> 8U);
  question[1] = static_cast<std::uint8_t>(id);
  auto made = std::make_unique<State::Question>(State::Question{&state, id, std::move(done)});
  State::Question* asked = state.questions.emplace(id, std::move(made)).first->second.get();
  ++state.depth;
  ::ares_send(
      state.channel, question.data(), static_cast<int>(question.size()),
      [](void* data, int status, int, unsigned char* answer, int size) {
        auto* one = static_cast<State::Question*>(data);
        const ByteView bytes = answer == nullptr ? ByteView() : ByteView(answer, static_cast<std::size_t>(size));
        one->owner->answered(one, status, bytes);
      },
      asked);
  --state.depth;
  state.schedule();
}

}  // namespace culvert::dns
