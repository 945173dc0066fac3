// SPDX-License-Identifier: Apache-2.0
// Client: asks the agent over its admin socket (HTTP by libcurl). One request at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace culvert::ctl {

class Client {
 public:
  explicit Client(std::string socket_path);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The body of a 2xx answer. ErrorCode::Unavailable: nobody answers at the socket, and what to do about it; any other code:
  // the agent refused or failed, in its own words.
  [[nodiscard]] Result<std::string> get(const std::string& path);
  [[nodiscard]] Result<std::string> post(const std::string& path, const std::string& body);
  [[nodiscard]] Result<std::string> remove(const std::string& path);
  // `text` as one segment of a path.
  [[nodiscard]] static std::string segment(std::string_view text);

 private:
  [[nodiscard]] Result<std::string> ask(const char* method, const std::string& path, const std::string* body);

  struct Handle;
  std::string socket_path_;
  std::unique_ptr<Handle> handle_;
};

}  // namespace culvert::ctl
