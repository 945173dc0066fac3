// SPDX-License-Identifier: Apache-2.0
// XdsSession: the state of delta discovery, across streams: what is known of each type, what a new stream asks for, and the answer to each
// response. Values in, values out; it knows no gRPC, no clock, no thread. Control thread.
//
// The rules (those of ztunnel): the first request of a type on a stream carries the node and the names and versions of everything that is still
// known; each response is answered once, whether or not all of it could be taken over; what could is in force in either case; a name is
// remembered only when its resource was taken. What the control plane removed while nobody listened arrives as removed. Removals come before
// the rest of a response. A type that nobody here knows is acknowledged, so that it is not sent again and again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "state/store.hpp"

namespace culvert::control {

// A response or a part of one: a large push comes in pieces.
struct XdsUpdate {
  struct Resource {
    std::string name;
    std::string version;
    std::variant<state::Workload, state::Service, state::Authorization> value;
  };
  struct Rejected {
    std::string name;
    std::string reason;
  };
  std::string type_url;
  std::string nonce;
  std::vector<std::string> removed;
  std::vector<Resource> resources;
  std::vector<Rejected> rejected;
  bool is_last = true;
};

struct XdsRequest {
  std::string type_url;
  bool has_node = false;
  std::vector<std::string> subscribe;
  std::vector<std::string> unsubscribe;
  std::vector<std::pair<std::string, std::string>> initial_versions;
  std::string nonce;  // empty: this answers nothing
  std::string error;  // not empty: the response was not taken over as a whole
};

class XdsSession {
 public:
  // `store` outlives the session. On demand: addresses are asked for by name.
  XdsSession(state::Store& store, bool is_on_demand) : store_(store), is_on_demand_(is_on_demand) {}

  // A stream was opened: its first requests.
  [[nodiscard]] std::vector<XdsRequest> begin();
  // Takes over what can be. The answer comes with the last part. The store is not published.
  [[nodiscard]] std::optional<XdsRequest> take(XdsUpdate update);
  // On demand: asks for "NETWORK/IP", "NAMESPACE/HOSTNAME" or a uid, once. Nothing when it is known or asked for already.
  [[nodiscard]] std::optional<XdsRequest> want(const std::string& name);

  // Every type that is not on demand was taken over whole at least once.
  [[nodiscard]] bool is_warm() const noexcept {
    return authorizations_.is_warm && (is_on_demand_ || addresses_.is_warm);
  }
  [[nodiscard]] std::size_t known() const noexcept {
    return addresses_.versions.size() + authorizations_.versions.size();
  }
  static constexpr std::size_t kErrorBytesMax = 4'096;  // of a NACK's text

 private:
  struct Type {
    std::unordered_map<std::string, std::string>
        versions;       // by name; on demand also what was asked for, without a version
    std::string error;  // of the response that is being taken
    bool is_warm = false;
  };
  [[nodiscard]] XdsRequest first(std::string_view url, const Type& type, bool has_wildcard) const;
  void remove(std::string_view url, const std::string& name);

  state::Store& store_;
  bool is_on_demand_;
  Type addresses_;
  Type authorizations_;
};

}  // namespace culvert::control
