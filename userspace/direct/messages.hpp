// SPDX-License-Identifier: Apache-2.0
// Control messages of the direct tunnel, docs/protocol.md: pure functions between bytes and values. One message is the whole
// plaintext of one TLS record of content type 0xc4. Unknown message types and unknown fields have a defined answer there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/address.hpp"
#include "base/bytes.hpp"

namespace culvert::direct {

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::size_t kMessageBytesMax = 8192;     // far under one record
inline constexpr std::size_t kBaggageBytesMax = 4096;
inline constexpr std::size_t kTraceparentBytes = 55;      // W3C Trace Context, version 00

enum class MessageType : std::uint8_t { Open = 1, Accept = 2, Refuse = 3, End = 4, Reset = 5, GoAway = 6 };

// Why the far side did not connect. Numbers are on the wire and never reused.
enum class RefuseReason : std::uint8_t {
  PolicyDenied = 1,
  ConnectRefused = 2,   // the application answered with RST
  ConnectTimeout = 3,
  ConnectFailed = 4,    // any other failure of connect
  UnknownDestination = 5,
  Draining = 6,         // nothing was tried: another tunnel may be used
  Overloaded = 7,       // nothing was tried
  BadRequest = 8,
};
[[nodiscard]] std::string_view to_string(RefuseReason reason) noexcept;

struct Open {
  Endpoint source;             // the application's own address, as its socket sees it
  Endpoint destination;        // what it dialled, resolved to the pod
  std::string_view baggage;    // W3C Baggage, may be empty; views into the message while decoding
  std::string_view traceparent;  // 55 bytes or empty
};
struct Accept {};
struct Refuse {
  RefuseReason reason = RefuseReason::ConnectFailed;
};
struct End {};    // half-close: no more application data in this direction
struct Reset {};  // the application's connection was reset
struct GoAway {};  // no further OPEN on this connection; the live one goes on
struct Unknown {  // a type above the highest known: ignored when its top bit is set, else a protocol error
  std::uint8_t type = 0;
};

using Message = std::variant<Open, Accept, Refuse, End, Reset, GoAway, Unknown>;

// Null when the bytes are not a well-formed message.
[[nodiscard]] std::optional<Message> decode(ByteView record) noexcept;
// Writes into `buffer` and gives the bytes written; empty when it does not fit or a field is over its limit.
[[nodiscard]] ByteView encode(const Message& message, MutableBytes buffer) noexcept;

}  // namespace culvert::direct
