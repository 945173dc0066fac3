// SPDX-License-Identifier: Apache-2.0
// RawPeer: the far end of a tunnel as bare keys and a descriptor, for a peer that breaks the rules: seals any record, changes
// keys when it likes, sends half a record.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/unique_fd.hpp"
#include "tls/traffic_keys.hpp"
#include "tls/tunnel_socket.hpp"

namespace culvert::tls::test {

class RawPeer {
 public:
  // Takes the connection over from `socket`, whose records are in user space.
  explicit RawPeer(TunnelSocket&& socket);

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  // The record as it goes on the wire; moves the sequence number on.
  [[nodiscard]] std::string seal(std::uint8_t type, std::string_view content);
  void send_raw(std::string_view bytes);
  void send(std::uint8_t type, std::string_view content) { send_raw(seal(type, content)); }
  // KeyUpdate and the change of key that goes with it.
  void update_key(bool wants_answer);
  // The next record that arrived: {type, content}; type 0 when there is none within a second.
  struct Record {
    std::uint8_t type = 0;
    std::string content;
  };
  [[nodiscard]] Record receive();
  void follow_key_update();  // the peer's key changed
  void shut_down();          // FIN
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  Cipher cipher_;
  TrafficKeys tx_;
  TrafficKeys rx_;
  std::string in_;
};

}  // namespace culvert::tls::test
