// SPDX-License-Identifier: Apache-2.0
// What each kind of value of `mesh` accepts and how it is written back. Pure.
#include "control/config_mesh_values.hpp"

#include <algorithm>

namespace culvert::control {
namespace {

constexpr std::size_t kNameMax = 253;

Result<std::uint16_t> parse_port(std::string_view text, std::uint16_t min) {
  const std::uint64_t value = CV_TRY(parse_integer(text));
  CV_TRY(check_range(text, value, min, 65'535, fmt::format("a port, {} to 65535", min)));
  return static_cast<std::uint16_t>(value);
}

bool can_be_dialled(const IpAddress& address) { return !address.is_unspecified() && !address.is_loopback(); }

struct Halves {
  std::string_view before;  // without a separator: empty
  std::string_view after;
  bool is_split = false;
};
Halves split_at(std::string_view text, char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return {{}, text, false};
  return {text.substr(0, at), text.substr(at + 1), true};
}

// "10.0.0.9", "10.0.0.9:15009", "fd00::9" or "[fd00::9]:15009".
std::optional<Endpoint> parse_address_and_port(std::string_view text, std::uint16_t default_port) {
  if (const auto address = IpAddress::parse(text); address && can_be_dialled(*address)) {
    return Endpoint{*address, default_port};
  }
  if (const auto endpoint = Endpoint::parse(text);
      endpoint && endpoint->port != 0 && can_be_dialled(endpoint->address)) {
    return *endpoint;
  }
  return std::nullopt;
}

Result<std::string> parse_workload(std::string_view text) {
  const Halves halves = split_at(text, '/');
  if (check_name(halves.after, kNameMax, false) && (!halves.is_split || check_name(halves.before, kNameMax, false))) {
    return std::string(text);
  }
  return fail(ErrorCode::InvalidArgument, "{} is not a workload; write NAME or NAMESPACE/NAME", quoted(text));
}

Result<state::NetworkAddress> parse_network_address(std::string_view text) {
  const Halves halves = split_at(text, '/');
  const auto address = IpAddress::parse(halves.after);
  const bool has_network = !halves.is_split || check_name(halves.before, kNameMax, false);
  if (!address || !can_be_dialled(*address) || !has_network) {
    return fail(ErrorCode::InvalidArgument,
                "{} is not a virtual address; write one IPv4 or IPv6 address, or NETWORK/ADDRESS", quoted(text));
  }
  return state::NetworkAddress{.network = std::string(halves.before), .address = *address};
}

}  // namespace

Result<state::GatewayRef> parse_reference(std::string_view text) {
  const auto mistake = [text] {
    return fail(
        ErrorCode::InvalidArgument,
        "{} is not a reference; write ADDRESS, NETWORK/ADDRESS or NAMESPACE/HOSTNAME, and :PORT behind it if that is "
        "not 15008",
        quoted(text));
  };
  state::GatewayRef reference;
  const Halves halves = split_at(text, '/');
  if (halves.is_split && !check_name(halves.before, kNameMax, false)) return mistake();
  if (const auto where = parse_address_and_port(halves.after, reference.hbone_port); where) {
    reference.address = state::NetworkAddress{.network = std::string(halves.before), .address = where->address};
    reference.hbone_port = where->port;
    return reference;
  }
  const std::size_t colon = halves.after.rfind(':');
  const std::string_view hostname = halves.after.substr(0, colon);
  if (!halves.is_split || !check_name(hostname, kNameMax, false)) return mistake();
  if (colon != std::string_view::npos) reference.hbone_port = CV_TRY(parse_port(halves.after.substr(colon + 1), 1));
  reference.namespace_name = halves.before;
  reference.hostname = hostname;
  return reference;
}

ScalarValue port_value(std::uint16_t& target) {
  return {"port",
          "1 to 65535",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_port(text, 1));
            return {};
          },
          [&target] { return target == 0 ? std::string() : std::to_string(target); },
          variable_of(target)};
}

ScalarValue port_value(std::optional<std::uint16_t>& target) {
  return {"port",
          "0 to 65535",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_port(text, 0));
            return {};
          },
          [&target] { return target ? std::to_string(*target) : std::string(); },
          variable_of(target)};
}

ScalarValue workload_value(std::string& target) {
  return {"workload",
          "NAME or NAMESPACE/NAME",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_workload(text));
            return {};
          },
          [&target] { return target; },
          variable_of(target)};
}

ScalarValue reference_value(std::optional<state::GatewayRef>& target) {
  return {"reference",
          "ADDRESS, NETWORK/ADDRESS or NAMESPACE/HOSTNAME; :PORT may follow",
          {},
          [&target](std::string_view text) -> Result<void> {
            target = CV_TRY(parse_reference(text));
            return {};
          },
          [&target] { return target ? state::to_string(*target) : std::string(); },
          variable_of(target)};
}

ListValue workload_list(std::vector<std::string>& target, std::size_t size_max) {
  return list_of(target, "workload", size_max, parse_workload, [](const std::string& workload) { return workload; });
}

ListValue virtual_address_list(std::vector<state::NetworkAddress>& target, std::size_t size_max) {
  return list_of(target, "virtual address", size_max, parse_network_address,
                 [](const state::NetworkAddress& address) { return state::to_string(address); });
}

ListValue identity_list(std::vector<SpiffeId>& target, std::size_t size_max) {
  return list_of(
      target, "identity", size_max,
      [](std::string_view text) -> Result<SpiffeId> {
        Result<SpiffeId> identity = SpiffeId::parse(text);
        if (identity) return identity;
        return fail(ErrorCode::InvalidArgument,
                    "{} is not an identity; write spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT", quoted(text));
      },
      [](const SpiffeId& identity) { return identity.to_string(); });
}

}  // namespace culvert::control
