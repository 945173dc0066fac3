// SPDX-License-Identifier: Apache-2.0
// The certificates of a PEM text as a person is shown them: leaves, intermediates and roots alike. Pure; any thread; no OpenSSL in the open.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace culvert::tls {

struct ListedCertificate {
  std::string pem;             // this one alone
  std::string serial_decimal;  // of any length
  std::string not_before;      // "2026-11-22T10:00:00Z"
  std::string not_after;
};

// In the order of the text; the error says what is wrong with it.
[[nodiscard]] Result<std::vector<ListedCertificate>> list_certificates(std::string_view pem);

}  // namespace culvert::tls
