// SPDX-License-Identifier: Apache-2.0
// The texts of an HBONE request. What parses is written again and parses to the same; views stay inside the input.
// deps: culvert::hbone
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "hbone/messages.hpp"

namespace {

using namespace culvert::hbone;

void require(bool is_true) {
  if (!is_true) std::abort();
}

void check_inside(std::string_view view, std::string_view text) {
  require(view.empty() || (view.data() >= text.data() && view.data() + view.size() <= text.data() + text.size()));
}

void check_authority(std::string_view text) {
  const auto authority = parse_authority(text);
  if (!authority) return;
  require(authority->port > 0 && authority->endpoint.has_value() == authority->host.empty());
  check_inside(authority->host, text);
  const std::string again =
      authority->endpoint ? format_authority(*authority->endpoint) : format_authority(authority->host, authority->port);
  const auto second = parse_authority(again);
  require(second.has_value() && second->endpoint == authority->endpoint && second->host == authority->host &&
          second->port == authority->port);
}

void check_baggage(std::string_view text) {
  const Baggage baggage = parse_baggage(text);
  for (const std::string_view value : {baggage.cluster, baggage.namespace_name, baggage.workload_name, baggage.service,
                                       baggage.revision, baggage.region, baggage.zone})
    check_inside(value, text);
  const std::string again = format_baggage(baggage);
  require(parse_baggage(again) == baggage && again.size() <= text.size());
}

void check_rest(std::string_view text) {
  check_inside(forwarded_host(text), text);
  if (const auto parent = parse_traceparent(text)) require(parse_traceparent(format_traceparent(*parent)) == parent);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Its own allocation, without a NUL behind it.
  const auto own = std::make_unique<char[]>(size);
  for (std::size_t i = 0; i < size; ++i) own[i] = static_cast<char>(data[i]);
  const std::string_view text(own.get(), size);
  check_authority(text);
  check_baggage(text);
  check_rest(text);
  return 0;
}
