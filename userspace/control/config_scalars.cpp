// SPDX-License-Identifier: Apache-2.0
// The bound values of config_values.hpp: what each kind accepts and how it is written back. Pure.
#include <algorithm>
#include <type_traits>

#include "base/spiffe_id.hpp"
#include "control/config_values.hpp"

namespace culvert::control {
namespace {

constexpr std::size_t kExclusionsMax = 64;  // of one kind; the pod's map entries are bounded as well

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

std::string name_range(std::size_t size_max, bool may_be_empty) {
  return fmt::format("{} to {} characters", may_be_empty ? 0 : 1, size_max);
}

// A list of things that a parser makes and to_string gives back.
template <typename T, typename Parse>
ListValue parsed_list(std::vector<T>& target, std::string type, std::size_t size_max, Parse parse) {
  return list_of(target, std::move(type), size_max, parse, [](const T& value) { return value.to_string(); });
}

std::string integer_text(std::uint64_t value) { return std::to_string(value); }

// A number within bounds, of any unit: how it is read, and how it and its bounds are written.
template <typename Target, typename Parse, typename Format>
ScalarValue bounded_value(const char* kind, Target& target, std::uint64_t min, std::uint64_t max, Parse parse,
                          Format format) {
  const std::string range = fmt::format("{} to {}", format(min), format(max));
  return {kind,
          range,
          {},
          [&target, min, max, range, parse](std::string_view text) -> Result<void> {
            const std::uint64_t value = CV_TRY(parse(text));
            CV_TRY(check_range(text, value, min, max, range));
            if constexpr (std::is_integral_v<Target>) {
              target = static_cast<Target>(value);
            } else {
              target = static_cast<typename Target::value_type>(value);
            }
            return {};
          },
          [&target, format] {
            if constexpr (std::is_integral_v<Target>) {
              return format(target);
            } else {
              return target ? format(*target) : std::string();
            }
          },
          variable_of(target)};
}

}  // namespace

Result<void> check_range(std::string_view text, std::uint64_t value, std::uint64_t min, std::uint64_t max,
                         std::string_view range) {
  if (value >= min && value <= max) return {};
  return fail(ErrorCode::InvalidArgument, "{} is out of range; write {}", quoted(text), range);
}

Result<void> check_name(std::string_view text, std::size_t size_max, bool may_be_empty) {
  if (text.empty() && may_be_empty) return {};
  const bool is_valid =
      !text.empty() && text.size() <= size_max && is_alphanumeric(text.front()) &&
      std::ranges::all_of(text, [](char c) { return is_alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
  if (is_valid) return {};
  return fail(ErrorCode::InvalidArgument,
              "{} is not a name; write 1 to {} letters, digits, '.', '_' or '-', a letter or digit first", quoted(text),
              size_max);
}

ScalarValue duration_value(std::uint64_t& target_ms, std::uint64_t min_ms, std::uint64_t max_ms) {
  return bounded_value("duration", target_ms, min_ms, max_ms, parse_duration_ms, format_duration_ms);
}

ScalarValue size_value(std::uint64_t& target, std::uint64_t min, std::uint64_t max) {
  return bounded_value("size", target, min, max, parse_size_bytes, format_size_bytes);
}

ScalarValue integer_value(std::uint32_t& target, std::uint32_t min, std::uint32_t max) {
  return bounded_value("integer", target, min, max, parse_integer, integer_text);
}

ScalarValue integer_value(std::optional<std::uint32_t>& target, std::uint32_t min, std::uint32_t max) {
  return bounded_value("integer", target, min, max, parse_integer, integer_text);
}

ScalarValue boolean_value(std::optional<bool>& target) {
  return {"boolean",
          {},
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(find_word(text, {"false", "true"})) == 1;
            return {};
          },
          [&target] { return !target ? std::string() : std::string(*target ? "true" : "false"); },
          variable_of(target)};
}

ScalarValue boolean_value(bool& target) {
  return {"boolean",
          {},
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(find_word(text, {"false", "true"})) == 1;
            return {};
          },
          [&target] { return std::string(target ? "true" : "false"); },
          variable_of(target)};
}

ScalarValue listen_value(std::optional<Endpoint>& target) {
  return {"listen address",
          {},
          {},
          [&target](std::string_view text) -> Result<void> {
            if (text == "off") {
              target.reset();
              return {};
            }
            const Result<Endpoint> endpoint = Endpoint::parse(text);
            if (!endpoint || endpoint->port == 0) {
              return fail(ErrorCode::InvalidArgument,
                          "{} is not an address with a port; write 0.0.0.0:15020, [::1]:15020 or the like, or off",
                          quoted(text));
            }
            target = *endpoint;
            return {};
          },
          [&target] { return target ? target->to_string() : std::string("off"); },
          variable_of(target)};
}

ScalarValue path_value(std::string& target, std::size_t size_max) {
  return {"path",
          fmt::format("absolute, up to {} bytes", size_max),
          {},
          [&target, size_max](std::string_view text) -> Result<void> {
            if (!text.starts_with('/') || text.find('\0') != std::string_view::npos) {
              return fail(ErrorCode::InvalidArgument, "{} is not an absolute path; start it with /", quoted(text));
            }
            if (text.size() > size_max) {
              return fail(ErrorCode::InvalidArgument, "{} is longer than {} bytes; take a shorter path", quoted(text),
                          size_max);
            }
            while (text.size() > 1 && text.ends_with('/')) text.remove_suffix(1);
            target = text;
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

ScalarValue name_value(std::string& target, std::size_t size_max, bool may_be_empty) {
  return {"name",
          name_range(size_max, may_be_empty),
          {},
          [&target, size_max, may_be_empty](std::string_view text) -> Result<void> {
            CV_TRY(check_name(text, size_max, may_be_empty));
            target = text;
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

ScalarValue name_value(std::optional<std::string>& target, std::size_t size_max, bool may_be_empty) {
  return {"name",
          name_range(size_max, may_be_empty),
          {},
          [&target, size_max, may_be_empty](std::string_view text) -> Result<void> {
            CV_TRY(check_name(text, size_max, may_be_empty));
            target = text;
            return {};
          },
          [&target] { return target.value_or(""); },
          variable_of(target)};
}

ScalarValue text_value(std::string& target, std::size_t size_max) {
  return {"text",
          fmt::format("up to {} bytes", size_max),
          {},
          [&target, size_max](std::string_view text) -> Result<void> {
            if (text.size() > size_max || std::ranges::any_of(text, [](char c) { return c < ' ' || c == 0x7f; })) {
              return fail(ErrorCode::InvalidArgument, "{} is not such a text; write up to {} printable bytes",
                          quoted(text), size_max);
            }
            target = text;
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

namespace {

Result<std::string> parse_trust_domain(std::string_view text) {
  if (SpiffeId::make(text, "default", "default")) return std::string(text);
  return fail(ErrorCode::InvalidArgument, "{} is not a trust domain; write lower-case letters, digits, '.', '-' or '_'",
              quoted(text));
}

}  // namespace

ListValue trust_domain_list(std::vector<std::string>& target, std::size_t size_max) {
  return list_of(target, "trust domain", size_max, parse_trust_domain, [](const std::string& text) { return text; });
}

ScalarValue trust_domain_value(std::string& target) {
  return {"trust domain",
          "1 to 255 characters",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_trust_domain(text));
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

ListValue port_list(std::vector<std::uint16_t>& target) {
  ListValue list = list_of(
      target, "port", kExclusionsMax,
      [](std::string_view text) -> Result<std::uint16_t> {
        const std::uint64_t value = CV_TRY(parse_integer(text));
        CV_TRY(check_range(text, value, 1, 65'535, "a port, 1 to 65535"));
        return static_cast<std::uint16_t>(value);
      },
      [](std::uint16_t port) { return port; });
  list.range = "1 to 65535";
  return list;
}

ListValue cidr_list(std::vector<Cidr>& target) {
  return parsed_list(target, "CIDR", kExclusionsMax, [](std::string_view text) -> Result<Cidr> {
    Result<Cidr> cidr = Cidr::parse(text);
    if (cidr) return cidr;
    return fail(ErrorCode::InvalidArgument, "{} is not an address range; write 10.0.0.0/8, fd00::/8 or the like",
                quoted(text));
  });
}

ListValue address_list(std::vector<IpAddress>& target, std::size_t size_max) {
  return parsed_list(target, "IP address", size_max, [](std::string_view text) -> Result<IpAddress> {
    const Result<IpAddress> address = IpAddress::parse(text);
    if (address && !address->is_unspecified() && !address->is_loopback()) return *address;
    return fail(ErrorCode::InvalidArgument,
                "{} is not an address of a pod; write one IPv4 or IPv6 address, neither loopback nor 0.0.0.0 or ::",
                quoted(text));
  });
}

}  // namespace culvert::control
