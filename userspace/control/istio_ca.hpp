// SPDX-License-Identifier: Apache-2.0
// IstioCa: certificates from a control plane's CA (istio.v1.auth.IstioCertificateService/CreateCertificate), for the identities of this
// node's pods: each request names the identity that it is for, and the CA decides by the agent's own token whether it may. What comes back is
// checked before it is used (tls/csr.hpp). Control thread; gRPC's threads do no more than hand the answer over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "control/certificate_source.hpp"
#include "control/grpc_channel.hpp"

namespace culvert::control {

class IstioCa final : public CertificateSource {
 public:
  // Runs a task on the control thread; callable from any thread; does not lose tasks. Not called once the source has gone.
  using Post = std::function<void(std::function<void()>)>;
  // Seconds since the Unix epoch.
  using Now = std::function<std::int64_t()>;

  struct Options {
    GrpcEndpoint endpoint;
    std::int64_t lifetime_s = 86'400;        // asked for; the CA may give less
    std::uint64_t call_timeout_ms = 10'000;  // from the call to its answer, connecting included
    bool impersonates = true;  // false: the agent's token is the workload's own, and the request names nobody
  };

  IstioCa(Options options, Post post, Now now);
  // Calls under way are cancelled; their replies are not called.
  ~IstioCa() override;

  // Each call reads the token anew, and the roots: when they have changed, it goes over a new connection. Errors name the CA, what it said
  // and what to look at.
  void request(const SpiffeId& identity, Reply reply) override;
  // For certificates that are asked for from now on.
  void set_lifetime_s(std::int64_t lifetime_s) noexcept;

 private:
  struct Call;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace culvert::control
