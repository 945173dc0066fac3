// SPDX-License-Identifier: Apache-2.0
// OpensslProgram: a running `openssl s_server` or `s_client` with a certificate of the test's authority. What it receives is
// on its standard output; what is typed is sent, and lines of one letter are its commands (k, K: KeyUpdate; Q: close).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "support.hpp"

namespace culvert::tls::test {

class OpensslProgram {
 public:
  enum class Role : std::uint8_t { Server, Client, AnonymousClient, OldClient };
  OpensslProgram(const Authority& authority, Role role, Cipher cipher, const std::vector<std::string>& more = {});
  ~OpensslProgram();
  OpensslProgram(const OpensslProgram&) = delete;
  OpensslProgram& operator=(const OpensslProgram&) = delete;

  [[nodiscard]] UniqueFd connect();  // to the server, non-blocking
  [[nodiscard]] UniqueFd accept();   // the client's connection, non-blocking
  void type(std::string_view text);
  [[nodiscard]] bool wait_for_output(std::string_view text);
  [[nodiscard]] const std::string& output() const noexcept { return output_; }
  void kill();

 private:
  void start(const std::vector<std::string>& arguments);
  [[nodiscard]] std::string store(const std::string& name, const std::string& content);

  std::string directory_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  UniqueFd input_;
  UniqueFd output_fd_;
  std::string output_;
  int pid_ = -1;
};

// Runs our end of a handshake whose other end is a program; checks the failure when there is one.
[[nodiscard]] std::optional<TunnelSocket> finish_alone(End& end, HandshakeSocket socket,
                                                       HandshakeFailure expected = HandshakeFailure::None);

}  // namespace culvert::tls::test
