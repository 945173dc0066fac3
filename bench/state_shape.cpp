// SPDX-License-Identifier: Apache-2.0
#include "state_shape.hpp"

#include <utility>

#include <netinet/in.h>

namespace culvert::bench {
namespace {

constexpr std::uint32_t kNamespaces = 500;
constexpr std::uint32_t kNodes = 1'000;
constexpr std::uint32_t kZones = 3;

IpAddress numbered(std::uint32_t base, std::uint32_t i) { return IpAddress::v4(in_addr{htonl(base + i)}); }
std::string namespace_of(std::uint32_t service) { return fmt::format("team-{}", service % kNamespaces); }
std::string hostname_of(std::uint32_t service) {
  return fmt::format("checkout-{}.{}.svc.cluster.local", service, namespace_of(service));
}

}  // namespace

IpAddress pod_address(std::uint32_t pod) { return numbered(0x0a00'0001U, pod); }
IpAddress service_address(std::uint32_t service) { return numbered(0xac10'0001U, service); }

state::Workload make_pod(std::uint32_t pod, std::uint32_t pods) {
  const std::uint32_t service = pod % (pods / kPodsPerService);
  const std::string application = fmt::format("checkout-{}", service);
  state::Workload made;
  made.namespace_name = namespace_of(service);
  made.name = fmt::format("{}-7d9f8c6b5-{:05x}", application, pod);
  made.uid = fmt::format("Kubernetes//Pod/{}/{}", made.namespace_name, made.name);
  made.identity = {"cluster.local", made.namespace_name, application};
  made.node = fmt::format("worker-{}.eu-west-1.compute.internal", pod % kNodes);
  made.canonical_name = application;
  made.canonical_revision = "v1";
  made.workload_name = application;
  made.region = "eu-west-1";
  made.zone = fmt::format("eu-west-1{}", "abc"[pod % kZones]);
  made.addresses = {pod_address(pod)};
  made.services = {{made.namespace_name, hostname_of(service), {{kServicePort, 8080}, {443, 8443}}}};
  return made;
}

void fill(state::Store& store, std::uint32_t pods) {
  for (std::uint32_t i = 0; i < pods / kPodsPerService; ++i) {
    state::Service made;
    made.name = fmt::format("checkout-{}", i);
    made.namespace_name = namespace_of(i);
    made.hostname = hostname_of(i);
    made.vips = {{{}, service_address(i)}};
    made.ports = {{kServicePort, 8080}, {443, 8443}};
    store.upsert(made);
  }
  for (std::uint32_t i = 0; i < pods; ++i) store.upsert(make_pod(i, pods));
}

}  // namespace culvert::bench
