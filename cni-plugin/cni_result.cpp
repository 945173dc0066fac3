// SPDX-License-Identifier: Apache-2.0
#include "cni_result.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace culvert::cni_plugin {
namespace {

// Keys in the specification's order; text from outside (a path, the agent's words) may be no UTF-8.
Output print(const nlohmann::ordered_json& document, int exit_code) {
  return {document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n", exit_code};
}

}  // namespace

Output error_output(const CniError& error, std::string_view cni_version) {
  nlohmann::ordered_json document = {{"cniVersion", is_supported(cni_version) ? cni_version : kNewestVersion},
                                     {"code", static_cast<unsigned>(error.code)},
                                     {"msg", error.message}};
  if (!error.details.empty()) document["details"] = error.details;
  return print(document, 1);
}

Output version_output(std::string_view cni_version) {
  return print({{"cniVersion", is_supported(cni_version) ? cni_version : kNewestVersion},
                {"supportedVersions", kSupportedVersions}},
               0);
}

bool is_supported(std::string_view cni_version) noexcept {
  return std::ranges::find(kSupportedVersions, cni_version) != kSupportedVersions.end();
}

}  // namespace culvert::cni_plugin
