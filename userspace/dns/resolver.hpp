// SPDX-License-Identifier: Apache-2.0
// Resolver: addresses of endpoints that the mesh knows by name only. A and AAAA are asked at once, through c-ares on the control thread's
// loop, of the servers of resolv.conf; a changed resolv.conf is followed. Answers are cached; questions for one name at one time are one question.
// The name is taken as it is: no search domains.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "core/reactor.hpp"

namespace culvert::dns {

class Resolver {
 public:
  struct Options {
    std::string servers;  // "ADDRESS[:PORT],..."; empty: those of resolv.conf
    std::uint64_t timeout_ms = 5'000;
  };
  // Empty: the name has no address (loopback does not count), or nobody answered in time.
  using Callback = std::function<void(const std::vector<IpAddress>&)>;

  // `reactor` outlives the resolver. No memory is taken before the first question.
  Resolver(Reactor& reactor, Options options);
  ~Resolver();  // questions that are out are not answered
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // `done` is called once, perhaps before this returns. A name of more than 253 characters has no address.
  void resolve(const std::string& name, Callback done);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace culvert::dns
