// SPDX-License-Identifier: Apache-2.0
#include "transfer.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

namespace flowtool {
namespace {

// The bytes of one direction, the same for who sends and who checks.
class Stream {
 public:
  explicit Stream(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}

  void fill(std::span<std::uint8_t> out) {
    for (std::uint8_t& byte : out) {
      if (left_ == 0) {
        state_ ^= state_ << 13U;
        state_ ^= state_ >> 7U;
        state_ ^= state_ << 17U;
        word_ = state_ * 0x2545F4914F6CDD1DULL;
        left_ = 8;
      }
      byte = static_cast<std::uint8_t>(word_);
      word_ >>= 8U;
      --left_;
    }
  }

 private:
  std::uint64_t state_;
  std::uint64_t word_ = 0;
  unsigned left_ = 0;
};

struct Outcome {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::int64_t wrong_at = -1;  // offset of the first byte that differs
  std::string end;             // what reading ended with: "eof", "closed" (by us), or an errno's name
  std::string send_error;
};

struct Side {
  std::uint64_t send_bytes = 0;
  std::uint64_t receive_bytes = 0;
  std::uint64_t send_seed = 0;
  std::uint64_t receive_seed = 0;
  std::uint32_t stall_ms = 0;
  bool sends_after_eof = false;
  bool resets = false;  // RST instead of the half-close
  bool expects_reset = false;
};

void pause_ms(std::uint32_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

void send_stream(int fd, const Side& side, const Ask& ask, Outcome& outcome) {
  Stream stream(side.send_seed);
  std::minstd_rand random(static_cast<std::uint32_t>(side.send_seed));
  std::vector<std::uint8_t> buffer(ask.chunk_max);
  while (outcome.sent < side.send_bytes) {
    const std::uint64_t wanted = 1 + random() % ask.chunk_max;
    const std::size_t size = static_cast<std::size_t>(std::min(wanted, side.send_bytes - outcome.sent));
    const std::span<std::uint8_t> chunk(buffer.data(), size);
    stream.fill(chunk);
    if (!send_all(fd, chunk)) {
      outcome.send_error = error_name(errno);
      return;
    }
    outcome.sent += size;
    if (ask.pause_us_max != 0 && random() % 8 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % ask.pause_us_max));
    }
  }
}

// Reads until the stream ends; when one side is to reset, until everything expected is here.
void receive_stream(int fd, const Side& side, Outcome& outcome) {
  Stream stream(side.receive_seed);
  std::vector<std::uint8_t> got(256 * 1024);
  std::vector<std::uint8_t> expected(got.size());
  while (true) {
    std::uint64_t wanted = got.size();
    if (side.resets || side.expects_reset) wanted = std::min(wanted, side.receive_bytes - outcome.received);
    if (wanted == 0) return;
    const ssize_t part = ::recv(fd, got.data(), wanted, 0);
    if (part < 0 && errno == EINTR) continue;
    if (part <= 0) {
      outcome.end = part == 0 ? "eof" : error_name(errno);
      return;
    }
    const std::size_t size = static_cast<std::size_t>(part);
    stream.fill({expected.data(), size});
    if (outcome.wrong_at < 0 && std::memcmp(got.data(), expected.data(), size) != 0) {
      const auto differs = std::mismatch(got.begin(), got.begin() + part, expected.begin());
      outcome.wrong_at = static_cast<std::int64_t>(outcome.received) + (differs.first - got.begin());
    }
    outcome.received += size;
  }
}

// RST may overtake bytes that are under way: that is TCP. So who is to be reset says with one byte that it has them all, and only
// then does the other side reset.
void agree_on_reset(int fd, const Side& side, Outcome& outcome) {
  std::array<std::uint8_t, 1> byte{0x21};
  if (side.expects_reset && !send_all(fd, byte)) outcome.send_error = error_name(errno);
  const ssize_t got = receive_all(fd, byte);
  if (side.resets && got == 1) {
    outcome.end = "closed";
  } else {
    outcome.end = got < 0 ? error_name(errno) : got == 0 ? "eof" : "data";
  }
}

Outcome exchange(int fd, const Side& side, const Ask& ask) {
  Outcome outcome;
  std::thread sender;
  const auto send_then_shut = [&] {
    send_stream(fd, side, ask, outcome);
    if (!side.resets && !side.expects_reset && outcome.send_error.empty()) (void)::shutdown(fd, SHUT_WR);
  };
  if (!side.sends_after_eof) sender = std::thread(send_then_shut);
  if (side.stall_ms != 0) pause_ms(side.stall_ms);
  receive_stream(fd, side, outcome);
  if (side.sends_after_eof) send_then_shut();
  if (sender.joinable()) sender.join();
  if ((side.resets || side.expects_reset) && outcome.end.empty()) agree_on_reset(fd, side, outcome);
  return outcome;
}

void set_timeouts(int fd, std::uint32_t ms) {
  const timeval limit{.tv_sec = ms / 1000, .tv_usec = static_cast<suseconds_t>(ms % 1000) * 1000};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

std::mutex& print_lock() {
  static std::mutex lock;
  return lock;
}

void report(const std::string& peer, const Outcome& outcome, bool ok, double seconds) {
  const std::scoped_lock hold(print_lock());
  fmt::print(
      R"({{"ok":{},"peer":"{}","sent":{},"received":{},"wrong_at":{},"end":"{}","send_error":"{}","seconds":{:.3f}}})"
      "\n",
      ok, peer, outcome.sent, outcome.received, outcome.wrong_at, outcome.end, outcome.send_error, seconds);
  std::fflush(stdout);
}

void serve_one(int fd, std::uint32_t io_timeout_ms) {
  const std::string peer = peer_name(fd);
  const auto start = Clock::now();
  set_timeouts(fd, io_timeout_ms);
  Ask ask;
  std::array<std::uint8_t, sizeof(Ask)> head{};
  const ssize_t got = receive_all(fd, head);
  Outcome outcome;
  if (got != static_cast<ssize_t>(head.size())) {
    outcome.received = static_cast<std::uint64_t>(std::max<ssize_t>(got, 0));
    outcome.end = got < 0 ? error_name(errno) : "eof";
    ::close(fd);
    report(peer, outcome, false, seconds_since(start));
    return;
  }
  std::memcpy(&ask, head.data(), head.size());
  if (ask.magic != Ask::kMagic || ask.chunk_max == 0 || ask.chunk_max > (64U << 20U)) {
    outcome.end = "no Ask";
    ::close(fd);
    report(peer, outcome, false, seconds_since(start));
    return;
  }
  if (ask.ending == Ending::ServerCloses) {
    ::close(fd);
    outcome.end = "closed";
    report(peer, outcome, true, seconds_since(start));
    return;
  }
  const Side side{.send_bytes = ask.to_client_bytes,
                  .receive_bytes = ask.to_server_bytes,
                  .send_seed = ask.seed + 1,
                  .receive_seed = ask.seed,
                  .stall_ms = ask.server_stall_ms,
                  .sends_after_eof = ask.server_waits_for_eof != 0,
                  .resets = ask.ending == Ending::ServerResets,
                  .expects_reset = ask.ending == Ending::ClientResets};
  outcome = exchange(fd, side, ask);
  if (side.resets) arm_reset(fd);
  ::close(fd);
  const std::string wanted = side.expects_reset ? "ECONNRESET" : side.resets ? "closed" : "eof";
  const bool ok = outcome.wrong_at < 0 && outcome.received == ask.to_server_bytes &&
                  outcome.sent == ask.to_client_bytes && outcome.end == wanted;
  report(peer, outcome, ok, seconds_since(start));
}

bool transfer_once(const TransferOptions& options, const Ask& ask) {
  const auto start = Clock::now();
  const int fd = connect_to(options.to, options.source, static_cast<int>(options.connect_timeout_ms));
  Outcome outcome;
  if (fd < 0) {
    outcome.end = "connect: " + error_name(errno);
    report("", outcome, false, seconds_since(start));
    return false;
  }
  set_timeouts(fd, options.io_timeout_ms);
  const std::string peer = peer_name(fd);
  std::array<std::uint8_t, sizeof(Ask)> head{};
  std::memcpy(head.data(), &ask, head.size());
  bool ok = send_all(fd, head);
  const Side side{.send_bytes = ask.to_server_bytes,
                  .receive_bytes = ask.to_client_bytes,
                  .send_seed = ask.seed,
                  .receive_seed = ask.seed + 1,
                  .stall_ms = options.client_stall_ms,
                  .resets = ask.ending == Ending::ClientResets,
                  .expects_reset = ask.ending == Ending::ServerResets};
  if (ok) {
    outcome = exchange(fd, side, ask);
  } else {
    outcome.send_error = error_name(errno);
  }
  if (side.resets) arm_reset(fd);
  ::close(fd);
  ok = ok && outcome.wrong_at < 0 && outcome.received == ask.to_client_bytes;
  switch (ask.ending) {
    case Ending::HalfClose: ok = ok && outcome.sent == ask.to_server_bytes && outcome.end == "eof"; break;
    case Ending::ServerResets: ok = ok && outcome.end == "ECONNRESET"; break;
    case Ending::ClientResets: ok = ok && outcome.end == "closed"; break;
    // Unread bytes make the kernel answer with RST; without any it is a plain end.
    case Ending::ServerCloses: ok = ok && (outcome.end == "eof" || outcome.end == "ECONNRESET"); break;
  }
  report(peer, outcome, ok, seconds_since(start));
  return ok;
}

}  // namespace

int run_transfer(const TransferOptions& options) {
  std::vector<std::thread> threads;
  std::vector<std::uint8_t> good(options.parallel, 0);
  for (std::uint32_t i = 0; i < options.parallel; ++i) {
    threads.emplace_back([&options, &good, i] {
      Ask ask = options.ask;
      ask.seed += std::uint64_t{i} * 2;
      good[i] = transfer_once(options, ask) ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return std::all_of(good.begin(), good.end(), [](std::uint8_t ok) { return ok == 1; }) ? 0 : 1;
}

void serve_transfers(std::uint16_t port, std::uint32_t io_timeout_ms) {
  const int listener = listen_on(port, false);
  while (true) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE) pause_ms(10);
      continue;
    }
    std::thread(serve_one, fd, io_timeout_ms).detach();
  }
}

}  // namespace flowtool
