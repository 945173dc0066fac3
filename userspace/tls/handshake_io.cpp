// SPDX-License-Identifier: Apache-2.0
// How a handshake's bytes get between socket and OpenSSL. Two ways to read: ahead (records in user space: what comes after
// the handshake is carried over), or looking ahead with MSG_PEEK (records in the kernel: it must find every byte after the
// handshake's last record still in the socket). Both cost one or two system calls for a flight, not two for every record.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "base/assert.hpp"
#include "tls/handshake_state.hpp"
#include "tls/record_codec.hpp"

namespace culvert::tls {
namespace {

using State = HandshakeSocket::State;

constexpr std::size_t kReadBytes = 16 * 1024;

State& state_of(BIO* bio) noexcept { return *static_cast<State*>(::BIO_get_data(bio)); }

int bio_read(BIO* bio, char* data, std::size_t size, std::size_t* got) {
  State& state = state_of(bio);
  BIO_clear_retry_flags(bio);
  *got = std::min(size, state.in_limit - state.in_read);
  if (*got == 0) {
    BIO_set_retry_read(bio);
    return 0;
  }
  std::memcpy(data, state.in.data() + state.in_read, *got);
  state.in_read += *got;
  return 1;
}

int bio_write(BIO* bio, const char* data, std::size_t size, std::size_t* written) {
  State& state = state_of(bio);
  BIO_clear_retry_flags(bio);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(data);
  state.out.insert(state.out.end(), bytes, bytes + size);
  *written = size;
  return 1;
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* bio_method() noexcept {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method = ::BIO_meth_new(::BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "culvert handshake");
    CV_ASSERT(method != nullptr);
    ::BIO_meth_set_read_ex(method, bio_read);
    ::BIO_meth_set_write_ex(method, bio_write);
    ::BIO_meth_set_ctrl(method, bio_control);
    return method;
  }();
  return kMethod;
}

}  // namespace

BIO* State::make_bio() {
  BIO* bio = ::BIO_new(bio_method());
  if (bio == nullptr) return nullptr;
  ::BIO_set_data(bio, this);
  ::BIO_set_init(bio, 1);
  return bio;
}

State::Io State::flush() {
  while (out_sent < out.size()) {
    const ssize_t sent = ::send(fd.get(), out.data() + out_sent, out.size() - out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) return Io::WouldBlock;
      fail(HandshakeFailure::Closed, fmt::format("the connection broke: {}", ::strerrordesc_np(errno)));
      return Io::Closed;
    }
    out_sent += static_cast<std::size_t>(sent);
  }
  out.clear();
  out_sent = 0;
  return Io::Ok;
}

State::Io State::feed() {
  // Bytes that OpenSSL has had are of no use any more.
  if (in_read != 0 && in_read == in_taken && in_read == in.size()) {
    in.clear();
    in_read = in_limit = in_taken = 0;
  }
  const auto agreed = agreed_cipher();
  const bool is_exact =
      has_ulp && (agreed ? plan.rx[static_cast<std::size_t>(*agreed)] == Engine::Kernel : may_use_kernel(plan.rx));
  if (!is_exact) {
    take_looked_at(in.size());
    if (in_limit < in.size()) {
      in_limit = in.size();
      return Io::Ok;
    }
    return read_ahead();
  }
  if (next_record()) return Io::Ok;
  return look_ahead();
}

State::Io State::read_ahead() {
  const std::size_t before = in.size();
  in.resize(before + kReadBytes);
  const ssize_t got = ::recv(fd.get(), in.data() + before, kReadBytes, MSG_DONTWAIT);
  const int error = got < 0 ? errno : 0;
  const std::size_t count = got < 0 ? 0 : static_cast<std::size_t>(got);
  in.resize(before + count);
  in_limit = in_taken = in.size();
  received += count;
  if (got > 0) return Io::Ok;
  if (got == 0) {
    is_hung_up = true;
    fail(HandshakeFailure::Closed, "the peer closed the connection during the handshake");
    return Io::Closed;
  }
  if (error == EAGAIN || error == EINTR) return Io::WouldBlock;
  fail(HandshakeFailure::Closed, fmt::format("the connection broke: {}", ::strerrordesc_np(error)));
  return Io::Closed;
}

// Everything looked at before is of records that belong to the handshake: take it out, then look at what follows.
State::Io State::look_ahead() {
  take_looked_at(in.size());
  const std::size_t before = in.size();
  in.resize(before + kReadBytes);
  const ssize_t got = ::recv(fd.get(), in.data() + before, kReadBytes, MSG_DONTWAIT | MSG_PEEK);
  const int error = got < 0 ? errno : 0;
  const std::size_t count = got < 0 ? 0 : static_cast<std::size_t>(got);
  in.resize(before + count);
  received += count;
  if (got == 0) {
    is_hung_up = true;
    fail(HandshakeFailure::Closed, "the peer closed the connection during the handshake");
    return Io::Closed;
  }
  if (got < 0 && error != EAGAIN && error != EINTR) {
    fail(HandshakeFailure::Closed, fmt::format("the connection broke: {}", ::strerrordesc_np(error)));
    return Io::Closed;
  }
  if (next_record()) return Io::Ok;
  // The beginning of a record of the handshake: it is ours, and left in the socket it would look readable for ever.
  take_looked_at(in.size());
  return Io::WouldBlock;
}

// Moves the limit past one more complete record.
bool State::next_record() noexcept {
  const ByteView rest{in.data() + in_limit, in.size() - in_limit};
  if (rest.size() < kRecordHeaderBytes) return false;
  const std::size_t size = kRecordHeaderBytes + (std::size_t{rest[3]} << 8U | rest[4]);
  // A length that no record may have is OpenSSL's to refuse: it needs the header only.
  const std::size_t needed = size > kRecordBytesMax + 256 ? kRecordHeaderBytes : size;
  if (rest.size() < needed) return false;
  in_limit += needed;
  return true;
}

void State::take_looked_at(std::size_t up_to) {
  while (in_taken < up_to) {
    const ssize_t got = ::recv(fd.get(), in.data() + in_taken, up_to - in_taken, MSG_DONTWAIT);
    if (got <= 0) return;  // only after an error, which the next read reports
    in_taken += static_cast<std::size_t>(got);
  }
}

void State::settle() {
  take_looked_at(in_limit);
  if (in_taken < in.size()) in.resize(in_taken);
}

}  // namespace culvert::tls
