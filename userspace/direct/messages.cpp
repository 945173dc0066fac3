// SPDX-License-Identifier: Apache-2.0
// One value has one encoding wherever both ends know all fields: what is decoded here encodes to bytes that decode to the
// same value, which the fuzz target checks. Everything that is not exactly as docs/protocol.md says is refused.
#include "direct/messages.hpp"

#include <type_traits>

namespace culvert::direct {
namespace {

constexpr std::uint8_t kFlagsCritical = 0x0f;  // of Open::flags: a set bit here must be understood
constexpr std::uint8_t kIgnorable = 0x80;      // of a message type and of a field type

constexpr std::uint8_t kFieldBaggage = 1;
constexpr std::uint8_t kFieldTraceparent = 2;

constexpr std::uint8_t kFamilyV4 = 4;
constexpr std::uint8_t kFamilyV6 = 6;

std::uint8_t family_nibble(const IpAddress& address) noexcept { return address.is_v4() ? kFamilyV4 : kFamilyV6; }

std::optional<IpAddress> read_address(ByteReader& reader, std::uint8_t nibble) noexcept {
  if (nibble == kFamilyV4) {
    const ByteView bytes = reader.take(4);
    if (!reader.ok()) return std::nullopt;
    in_addr four;
    std::memcpy(&four, bytes.data(), sizeof(four));
    return IpAddress::v4(four);
  }
  if (nibble != kFamilyV6) return std::nullopt;
  const ByteView bytes = reader.take(16);
  if (!reader.ok()) return std::nullopt;
  in6_addr six;
  std::memcpy(&six, bytes.data(), sizeof(six));
  const IpAddress address = IpAddress::v6(six);
  if (address.is_v4()) return std::nullopt;  // a v4-mapped address is written as IPv4
  return address;
}

// Walks the fields to the end of the message. `known(type, value)` gives false for a value that is not allowed, and nothing
// for a type that it does not know.
template <typename Known>
bool read_fields(ByteReader& reader, Known&& known) noexcept {
  while (reader.remaining() != 0) {
    const std::uint8_t type = reader.u8();
    const ByteView value = reader.take(reader.u16());
    if (!reader.ok()) return false;
    const std::optional<bool> is_good = known(type, value);
    if (!is_good.value_or((type & kIgnorable) != 0)) return false;
  }
  return reader.ok();
}

bool read_no_fields(ByteReader& reader) noexcept {
  return read_fields(reader, [](std::uint8_t, ByteView) { return std::optional<bool>(); });
}

std::optional<Message> read_open(ByteReader& reader) noexcept {
  Open open;
  open.flags = reader.u8();
  const std::uint8_t families = reader.u8();
  open.source.port = reader.u16();
  open.destination.port = reader.u16();
  const std::optional<IpAddress> source = read_address(reader, families >> 4U);
  const std::optional<IpAddress> destination = read_address(reader, families & 0x0fU);
  if (!source || !destination || open.destination.port == 0 || (open.flags & kFlagsCritical) != 0) return std::nullopt;
  open.source.address = *source;
  open.destination.address = *destination;
  const bool is_good = read_fields(reader, [&open](std::uint8_t type, ByteView value) -> std::optional<bool> {
    if (type == kFieldBaggage) {
      if (value.empty() || value.size() > kBaggageBytesMax || !open.baggage.empty()) return false;
      open.baggage = as_text(value);
      return true;
    }
    if (type == kFieldTraceparent) {
      if (value.size() != kTraceparentBytes || !open.traceparent.empty()) return false;
      open.traceparent = as_text(value);
      return true;
    }
    return std::nullopt;
  });
  if (!is_good) return std::nullopt;
  return open;
}

std::optional<Message> read_refuse(ByteReader& reader) noexcept {
  const std::uint8_t number = reader.u8();
  if (!read_no_fields(reader) || number == 0) return std::nullopt;
  const bool is_known = number <= static_cast<std::uint8_t>(RefuseReason::BadRequest);
  return Refuse{is_known ? static_cast<RefuseReason>(number) : RefuseReason::ConnectFailed};
}

std::optional<Message> read_ticket(ByteReader& reader) noexcept {
  Ticket ticket;
  ticket.lifetime_s = reader.u32();
  ticket.opaque = reader.take(reader.u16());
  if (!read_no_fields(reader) || ticket.opaque.empty() || ticket.opaque.size() > kTicketBytesMax) return std::nullopt;
  return ticket;
}

template <typename Value>
std::optional<Message> read_bare(ByteReader& reader, Value value) noexcept {
  if (!read_no_fields(reader)) return std::nullopt;
  return value;
}

bool write_field(ByteWriter& writer, std::uint8_t type, std::string_view value) noexcept {
  if (value.empty()) return true;
  writer.u8(type);
  writer.u16(static_cast<std::uint16_t>(value.size()));
  writer.bytes(as_bytes(value));
  return writer.ok();
}

bool write_body(ByteWriter& writer, const Open& open) noexcept {
  if (open.destination.port == 0 || (open.flags & kFlagsCritical) != 0 || open.baggage.size() > kBaggageBytesMax) {
    return false;
  }
  if (!open.traceparent.empty() && open.traceparent.size() != kTraceparentBytes) return false;
  writer.u8(open.flags);
  const std::uint8_t source = family_nibble(open.source.address);
  writer.u8(static_cast<std::uint8_t>(source << 4U | family_nibble(open.destination.address)));
  writer.u16(open.source.port);
  writer.u16(open.destination.port);
  writer.bytes(open.source.address.wire());
  writer.bytes(open.destination.address.wire());
  return write_field(writer, kFieldBaggage, open.baggage) && write_field(writer, kFieldTraceparent, open.traceparent);
}

bool write_body(ByteWriter& writer, const Refuse& refuse) noexcept {
  writer.u8(static_cast<std::uint8_t>(refuse.reason));
  return true;
}

bool write_body(ByteWriter& writer, const Ticket& ticket) noexcept {
  if (ticket.opaque.empty() || ticket.opaque.size() > kTicketBytesMax) return false;
  writer.u32(ticket.lifetime_s);
  writer.u16(static_cast<std::uint16_t>(ticket.opaque.size()));
  writer.bytes(ticket.opaque);
  return true;
}

template <typename Bare>
  requires std::is_empty_v<Bare>
bool write_body(ByteWriter&, const Bare&) noexcept {
  return true;
}

bool write_body(ByteWriter&, const Unknown&) noexcept { return true; }

}  // namespace

std::string_view to_string(RefuseReason reason) noexcept {
  switch (reason) {
    case RefuseReason::PolicyDenied: return "policy_denied";
    case RefuseReason::ConnectRefused: return "connect_refused";
    case RefuseReason::ConnectTimeout: return "connect_timeout";
    case RefuseReason::ConnectFailed: return "connect_failed";
    case RefuseReason::UnknownDestination: return "unknown_destination";
    case RefuseReason::Draining: return "draining";
    case RefuseReason::Overloaded: return "overloaded";
    case RefuseReason::BadRequest: return "bad_request";
  }
  return "unknown";
}

MessageType type_of(const Message& message) noexcept {
  if (const Unknown* unknown = std::get_if<Unknown>(&message)) return static_cast<MessageType>(unknown->type);
  static_assert(std::is_same_v<std::variant_alternative_t<0, Message>, Open> &&
                std::is_same_v<std::variant_alternative_t<6, Message>, Ticket>);
  return static_cast<MessageType>(message.index() + 1);  // the alternatives stand in the order of their numbers
}

std::optional<Message> decode(ByteView record) noexcept {
  if (record.empty() || record.size() > kMessageBytesMax) return std::nullopt;
  ByteReader reader(record);
  const std::uint8_t type = reader.u8();
  switch (static_cast<MessageType>(type)) {
    case MessageType::Open: return read_open(reader);
    case MessageType::Accept: return read_bare(reader, Accept{});
    case MessageType::Refuse: return read_refuse(reader);
    case MessageType::End: return read_bare(reader, End{});
    case MessageType::Reset: return read_bare(reader, Reset{});
    case MessageType::GoAway: return read_bare(reader, GoAway{});
    case MessageType::Ticket: return read_ticket(reader);
  }
  if (type == 0) return std::nullopt;
  return Unknown{type};  // its body may have any form
}

ByteView encode(const Message& message, MutableBytes buffer) noexcept {
  ByteWriter writer(buffer.first(buffer.size() < kMessageBytesMax ? buffer.size() : kMessageBytesMax));
  writer.u8(static_cast<std::uint8_t>(type_of(message)));
  const bool is_good = std::visit([&writer](const auto& value) { return write_body(writer, value); }, message);
  return is_good && writer.ok() ? writer.written() : ByteView{};
}

}  // namespace culvert::direct
