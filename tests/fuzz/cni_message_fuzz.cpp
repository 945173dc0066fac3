// SPDX-License-Identifier: Apache-2.0
// What reaches the agent's CNI socket, the plugin's end of it, and the small files between them: what decodes encodes to something that
// decodes to the same value; what does not is answered, whatever it is.
// deps: culvert::cni_requests
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/seqpacket.hpp"
#include "culvert/cni/mesh_file.hpp"
#include "culvert/cni/messages.hpp"
#include "enroll/pod_record.hpp"
#include "enroll/request_handler.hpp"

namespace {

using namespace culvert;

void require(bool is_true) {
  if (!is_true) std::abort();
}

// Takes everything that keeps the protocol's promises.
class Service : public enroll::PodService {
 public:
  Result<enroll::JoinAnswer> join(enroll::PodSpec spec, UniqueFd) override {
    if (spec.netns_path.starts_with('/')) require(enroll::validate(spec).has_value() || !spec.addresses.empty());
    return enroll::JoinAnswer{1};
  }
  Result<void> check(const std::string& id) override { return known(id); }
  Result<void> leave(const std::string& id) override { return known(id); }
  Result<void> gc(const cni::GcRequest& request) override {
    require(request.valid_ids.size() <= cni::kValidIdsMax);
    require(request.until.empty() || cni::is_valid_id(request.until));
    return {};
  }
  cni::Membership is_in_mesh(const cni::PodName& pod) override {
    require(cni::is_valid_name(pod.name) && cni::is_valid_name(pod.namespace_name) &&
            cni::is_valid_name(pod.service_account));
    return cni::Membership::Inside;
  }
  Result<void> is_ready() override { return {}; }

 private:
  static Result<void> known(const std::string& id) {
    require(cni::is_valid_id(id));
    return {};
  }
};

void check_codecs(std::string_view text) {
  if (const auto request = cni::decode_request(text)) {
    if (const auto encoded = cni::encode(*request)) {
      const auto again = cni::decode_request(*encoded);
      require(again.has_value() && *again == *request);
    }
  }
  if (const auto answer = cni::decode_answer(text)) {
    const std::string encoded = cni::encode(*answer);
    require(encoded.size() <= cni::kMessageBytesMax);
    require(cni::decode_answer(encoded)->code == answer->code);
  }
  if (const auto file = cni::decode_mesh_file(text)) {
    const auto again = cni::decode_mesh_file(cni::encode(*file));
    require(again.has_value() && *again == *file);
  }
  if (const auto record = enroll::decode_pod_record(text)) {
    require(enroll::encode(*enroll::decode_pod_record(enroll::encode(*record))) == enroll::encode(*record));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_codecs(text);
  Service service;
  enroll::RequestHandler handler(service);
  for (const int descriptor : {-1, 1 << 20}) {  // without one, and with one that nobody may use
    Packet packet;
    packet.text = text;
    if (descriptor >= 0) packet.fds.emplace_back(descriptor);
    const auto outcome = handler.handle(std::move(packet));
    require(cni::decode_answer(cni::encode(outcome.answer)).has_value());
  }
  return 0;
}
