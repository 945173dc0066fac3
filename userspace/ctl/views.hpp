// SPDX-License-Identifier: Apache-2.0
// What the agent answers, as text for a person. Pure functions of its JSON; an answer that lacks a key (an older or newer
// agent) shows an empty place instead of failing.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/result.hpp"
#include "ctl/table.hpp"

namespace culvert::ctl {

using Json = nlohmann::json;

[[nodiscard]] std::string view_status(const Json& answer, const Look& look);
[[nodiscard]] std::string view_pods(const Json& answer, const Look& look);
[[nodiscard]] std::string view_workloads(const Json& answer, const Look& look);
[[nodiscard]] std::string view_services(const Json& answer, const Look& look);
// `lines_max`: lines of the screen; connections that do not fit are counted. 0: all are shown.
[[nodiscard]] std::string view_connections(const Json& answer, const Look& look, std::size_t lines_max);
[[nodiscard]] std::string view_certificates(const Json& answer, const Look& look, std::int64_t now_s);
// One line a step, and what decided it below.
[[nodiscard]] std::string view_explanation(const Json& answer, const Look& look);
// Counters that are not zero, or all of them.
[[nodiscard]] std::string view_drops(const Json& answer, const Look& look, bool shows_zeros);

// The id of the pod that `word` means: an id, or the path of its namespace (or its name below /run/netns). Empty: none.
[[nodiscard]] std::string pod_id(const Json& pods, std::string_view word);

// The value of a key, or nothing when it is missing or of another type.
[[nodiscard]] std::string text_of(const Json& object, const char* key);
[[nodiscard]] std::uint64_t number_of(const Json& object, const char* key);
[[nodiscard]] Result<Json> parse_answer(const std::string& body);

}  // namespace culvert::ctl
