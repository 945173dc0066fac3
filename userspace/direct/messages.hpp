// SPDX-License-Identifier: Apache-2.0
// Control messages of the direct tunnel, docs/protocol.md: pure functions between bytes and values. One message is the whole
// plaintext of one TLS record of content type 0xc4. Unknown message types and unknown fields have a defined answer there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "base/address.hpp"
#include "base/bytes.hpp"

namespace culvert::direct {

inline constexpr std::uint8_t kVersion = 1;            // of the ALPN name culvert/1; not on the wire otherwise
inline constexpr std::size_t kMessageBytesMax = 8192;  // far under one record
inline constexpr std::size_t kBaggageBytesMax = 4096;
inline constexpr std::size_t kTraceparentBytes = 55;  // W3C Trace Context, version 00
inline constexpr std::size_t kTicketBytesMax = 2048;

// A type with the top bit set may be ignored by who does not know it; any other unknown type is a protocol error.
enum class MessageType : std::uint8_t { Open = 1, Accept = 2, Refuse = 3, End = 4, Reset = 5, GoAway = 6, Ticket = 7 };

// Why the far side did not connect. Numbers are on the wire and never reused. A number that this version does not know is
// read as ConnectFailed.
enum class RefuseReason : std::uint8_t {
  PolicyDenied = 1,
  ConnectRefused = 2,  // the application answered with RST
  ConnectTimeout = 3,
  ConnectFailed = 4,  // any other failure of connect
  UnknownDestination = 5,
  Draining = 6,    // nothing was tried: another tunnel may be used
  Overloaded = 7,  // nothing was tried
  BadRequest = 8,
};
[[nodiscard]] std::string_view to_string(RefuseReason reason) noexcept;

// Of Open::flags: the client sends nothing before it has the answer, so ACCEPT does not wait for the application's first bytes.
inline constexpr std::uint8_t kOpenPrompt = 0x10;

struct Open {
  Endpoint source;               // the application's own address, as its socket sees it
  Endpoint destination;          // what it dialled, resolved to the pod; the port is not 0
  std::string_view baggage;      // W3C Baggage, may be empty; views into the message while decoding
  std::string_view traceparent;  // 55 bytes or empty
  // kOpenPrompt or 0. Of what is received the other upper bits are ignored, and the lower four refused.
  std::uint8_t flags = 0;
  bool operator==(const Open&) const noexcept = default;
};
struct Accept {
  bool operator==(const Accept&) const noexcept = default;
};
struct Refuse {
  RefuseReason reason = RefuseReason::ConnectFailed;
  bool operator==(const Refuse&) const noexcept = default;
};
struct End {  // half-close: no more application data in this direction
  bool operator==(const End&) const noexcept = default;
};
struct Reset {  // the application's connection was reset
  bool operator==(const Reset&) const noexcept = default;
};
struct GoAway {  // no further OPEN on this connection; the live one goes on
  bool operator==(const GoAway&) const noexcept = default;
};
struct Ticket {  // server to client: what the client shows to resume TLS with this server, docs/tls.md
  std::uint32_t lifetime_s = 0;
  ByteView opaque;  // 1 to kTicketBytesMax bytes; views into the message while decoding
  bool operator==(const Ticket& other) const noexcept {
    return lifetime_s == other.lifetime_s && as_text(opaque) == as_text(other.opaque);
  }
};
struct Unknown {  // a well-formed message of a type that this version does not know
  std::uint8_t type = 0;
  bool operator==(const Unknown&) const noexcept = default;
};

using Message = std::variant<Open, Accept, Refuse, End, Reset, GoAway, Ticket, Unknown>;

// The type as it stands on the wire, for Unknown too: what session.hpp takes.
[[nodiscard]] MessageType type_of(const Message& message) noexcept;
// Null when the bytes are not a well-formed message.
[[nodiscard]] std::optional<Message> decode(ByteView record) noexcept;
// Writes into `buffer` and gives the bytes written; empty when it does not fit or a field is over its limit.
[[nodiscard]] ByteView encode(const Message& message, MutableBytes buffer) noexcept;

}  // namespace culvert::direct
