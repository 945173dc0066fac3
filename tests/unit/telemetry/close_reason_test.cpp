// SPDX-License-Identifier: Apache-2.0
// The list of close reasons as metrics and logs use it.
#include <algorithm>
#include <set>
#include <string>

#include <catch2/catch.hpp>

#include "telemetry/response_flag.hpp"

namespace culvert::telemetry {

TEST_CASE("every close reason has a label of its own that Prometheus accepts, a known flag and a text") {
  std::set<std::string_view> labels;
  for (std::size_t i = 0; i < kCloseReasons; ++i) {
    const auto reason = static_cast<CloseReason>(i);
    INFO(label(reason));
    CHECK(labels.insert(label(reason)).second);
    CHECK(label(reason).find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos);
    CHECK(std::ranges::find(kResponseFlags, response_flag(reason)) != kResponseFlags.end());
    CHECK_FALSE(text(reason).empty());
  }
}

TEST_CASE("the reasons that Istio names carry its flags") {
  CHECK(response_flag(CloseReason::Completed) == "-");
  CHECK(response_flag(CloseReason::PolicyDenied) == "DENY");
  CHECK(response_flag(CloseReason::HandshakeFailed) == "TLS_FAILURE");
  CHECK(response_flag(CloseReason::TunnelTimeout) == "NETWORK_POLICY");
  CHECK(response_flag(CloseReason::NoCertificate) == "IDENTITY_ERROR");
}

TEST_CASE("a value outside the list is shown as unknown") {
  CHECK(label(static_cast<CloseReason>(250)) == "unknown");
  CHECK(response_flag(static_cast<CloseReason>(250)) == "-");
}

}  // namespace culvert::telemetry
