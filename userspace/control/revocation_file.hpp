// SPDX-License-Identifier: Apache-2.0
// RevocationFile: the file that certificate revocation lists come from. It follows the file, hands what it holds to tls::Revocation, and
// keeps the lists in force when it is missing or wrong. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "control/file_watch.hpp"
#include "core/reactor.hpp"
#include "tls/revocation.hpp"

namespace culvert::control {

class RevocationFile {
 public:
  struct Callbacks {
    // Other lists are in force.
    std::function<void()> changed;
    // The file cannot be read or is wrong; the lists in force stay. Called once for each state of the file, and for each `reload`.
    std::function<void(const Error&)> failed;
  };

  // Reads the file, with calls of `changed` or `failed` from in here, and follows it from then on, also one that is not there yet. `reactor` and
  // `revocation` outlive the object. Not being able to watch is reported through `failed`.
  [[nodiscard]] static std::unique_ptr<RevocationFile> open(Reactor& reactor, std::string path,
                                                            tls::Revocation& revocation, Callbacks callbacks);
  RevocationFile(const RevocationFile&) = delete;
  RevocationFile& operator=(const RevocationFile&) = delete;

  // Reads the file even if it looks unchanged.
  void reload() { read(true); }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  // Why the file as it is now was not taken over; empty: it was.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }
  [[nodiscard]] std::uint64_t failures() const noexcept { return failures_; }

 private:
  RevocationFile(std::string path, tls::Revocation& revocation, Callbacks callbacks);
  void read(bool is_asked_for);
  // `seen`: digest of what was read; empty when nothing could be.
  void failed(const Error& error, std::string seen, bool is_asked_for);

  std::string path_;
  tls::Revocation& revocation_;
  Callbacks callbacks_;
  std::string in_force_;  // digest of the text
  std::string refused_;   // likewise, of the last that was wrong
  std::string error_;
  std::uint64_t failures_ = 0;
  std::unique_ptr<FileWatch> watch_;
};

}  // namespace culvert::control
