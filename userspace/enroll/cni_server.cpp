// SPDX-License-Identifier: Apache-2.0
#include "enroll/cni_server.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <unordered_map>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "core/seqpacket.hpp"
#include "enroll/atomic_file.hpp"
#include "enroll/request_handler.hpp"

namespace culvert::enroll {
namespace {

constexpr int kBacklog = 512;
constexpr unsigned kAcceptsPerTurn = 64;  // then the loop's other work has its turn
constexpr std::uint64_t kLookAwayMs = 100;

// 0 when the peer is `allowed`, else a sentence.
std::string refusal_of_peer(int fd, uid_t allowed) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return "the peer's credentials cannot be read";
  if (peer.uid == allowed) return {};
  return fmt::format("uid {} (pid {}) may not talk to the agent; run the plugin as uid {}", peer.uid, peer.pid,
                     allowed);
}

}  // namespace

struct CniServer::State {
  struct Client {
    UniqueFd fd;
    Reactor::TimerId timer = 0;
  };

  State(Options given_options, Reactor& given_reactor, PodService& given_service)
      : options(std::move(given_options)), reactor(given_reactor), handler(given_service) {}

  void accept_some();
  void look_away(int error);
  void admit(UniqueFd fd);
  void on_readable(int fd);
  // False: the connection is to be closed.
  [[nodiscard]] bool serve(int fd, Packet packet);
  void rearm(int fd, Client& client);
  void close(int fd);
  void refuse(const std::string& sentence);

  Options options;
  Reactor& reactor;
  RequestHandler handler;
  UniqueFd listener;
  Reactor::TimerId retry_timer = 0;
  std::unordered_map<int, Client> clients;
  Counters counters;
};

void CniServer::State::refuse(const std::string& sentence) {
  ++counters.refusals;
  if (options.on_refusal) options.on_refusal(sentence);
}

void CniServer::State::accept_some() {
  for (unsigned i = 0; i < kAcceptsPerTurn; ++i) {
    UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) look_away(errno);
      return;
    }
    admit(std::move(fd));
  }
}

// The waiting connection keeps the listener readable: not looking for a moment instead of spinning. It stays registered, because
// registering it anew could fail for the same reason.
void CniServer::State::look_away(int error) {
  refuse(fmt::format("a connection of the CNI plugin has to wait: {}", ::strerrordesc_np(error)));
  [[maybe_unused]] const auto paused = reactor.modify(listener.get(), 0);
  retry_timer = reactor.after_ms(kLookAwayMs, [this] {
    retry_timer = 0;
    [[maybe_unused]] const auto resumed = reactor.modify(listener.get(), EPOLLIN);
  });
}

void CniServer::State::admit(UniqueFd fd) {
  const std::string refusal = refusal_of_peer(fd.get(), options.allowed_uid);
  if (!refusal.empty()) {
    refuse(refusal);
    [[maybe_unused]] const bool sent = send_packet(fd.get(), encode(cni::Answer{cni::AnswerCode::Denied, refusal}));
    return;
  }
  if (clients.size() >= options.connections_max) {
    const std::string text = fmt::format("{} requests are under way, which is the limit", options.connections_max);
    refuse(text);
    [[maybe_unused]] const bool sent = send_packet(fd.get(), encode(cni::Answer{cni::AnswerCode::TryAgain, text}));
    return;
  }
  const int number = fd.get();
  const auto watched =
      reactor.watch(number, EPOLLIN | EPOLLRDHUP, [this, number](std::uint32_t) { on_readable(number); });
  if (!watched) return refuse(watched.error().message());
  Client& client = clients[number];
  client.fd = std::move(fd);
  rearm(number, client);
}

void CniServer::State::rearm(int fd, Client& client) {
  if (client.timer != 0) reactor.cancel(client.timer);
  client.timer = reactor.after_ms(options.idle_timeout_ms, [this, fd] {
    refuse(fmt::format("a client sent no request for {} ms", options.idle_timeout_ms));
    clients.at(fd).timer = 0;
    close(fd);
  });
}

void CniServer::State::close(int fd) {
  const auto place = clients.find(fd);
  if (place == clients.end()) return;
  if (place->second.timer != 0) reactor.cancel(place->second.timer);
  reactor.unwatch(fd);
  clients.erase(place);
}

void CniServer::State::on_readable(int fd) {
  const auto place = clients.find(fd);
  if (place == clients.end()) return;
  Packet packet;
  switch (receive_packet(fd, cni::kMessageBytesMax, packet)) {
    case ReceiveStatus::WouldBlock: return;
    case ReceiveStatus::Closed: return close(fd);
    case ReceiveStatus::Packet: break;
  }
  // One request a turn: clients take turns with each other and with the rest of the loop.
  if (!serve(fd, std::move(packet))) return close(fd);
  const auto still = clients.find(fd);
  if (still != clients.end()) rearm(fd, still->second);
}

bool CniServer::State::serve(int fd, Packet packet) {
  const RequestHandler::Outcome outcome = handler.handle(std::move(packet));
  if (outcome.reached_service) {
    ++counters.requests;
  } else {
    refuse(outcome.answer.message);
  }
  return send_packet(fd, encode(outcome.answer));
}

Result<std::unique_ptr<CniServer>> CniServer::open(Options options, Reactor& reactor, PodService& service) {
  const auto slash = options.socket_path.rfind('/');
  if (slash != std::string::npos && slash != 0) {
    CV_TRY(with_context(make_directory(options.socket_path.substr(0, slash), 0755), "the CNI socket"));
  }
  auto state = std::make_unique<State>(std::move(options), reactor, service);
  state->listener = CV_TRY(with_context(listen_seqpacket(state->options.socket_path, kBacklog), "the CNI socket"));
  State* raw = state.get();
  CV_TRY(reactor.watch(state->listener.get(), EPOLLIN, [raw](std::uint32_t) { raw->accept_some(); }));
  return std::unique_ptr<CniServer>(new CniServer(std::move(state)));
}

CniServer::CniServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

CniServer::~CniServer() {
  while (!state_->clients.empty()) state_->close(state_->clients.begin()->first);
  if (state_->retry_timer != 0) state_->reactor.cancel(state_->retry_timer);
  state_->reactor.unwatch(state_->listener.get());
  ::unlink(state_->options.socket_path.c_str());
}

const CniServer::Counters& CniServer::counters() const noexcept { return state_->counters; }
unsigned CniServer::connections() const noexcept { return static_cast<unsigned>(state_->clients.size()); }

}  // namespace culvert::enroll
