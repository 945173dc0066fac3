// SPDX-License-Identifier: Apache-2.0
#include "control/zds_messages.hpp"

#include "proto/zds.pb.h"

namespace culvert::control {

namespace zds = istio::workload::zds;

Result<ZdsRequest> parse_zds_request(std::string_view packet, std::size_t descriptors) {
  zds::WorkloadRequest message;
  if (packet.size() > kZdsPacketBytesMax || !message.ParseFromArray(packet.data(), static_cast<int>(packet.size()))) {
    return fail(ErrorCode::Protocol, "a packet of {} bytes is no WorkloadRequest", packet.size());
  }
  ZdsRequest request;
  switch (message.payload_case()) {
    case zds::WorkloadRequest::kAdd: {
      if (descriptors != 1) {
        return fail(ErrorCode::Protocol,
                    "AddWorkload {} comes with {} descriptors; one, the pod's network namespace, is wanted",
                    message.add().uid(), descriptors);
      }
      if (!message.add().has_workload_info()) {
        return fail(ErrorCode::Protocol, "AddWorkload {} does not say who the workload is", message.add().uid());
      }
      const zds::WorkloadInfo& info = message.add().workload_info();
      request.kind = ZdsRequest::Kind::Add;
      request.workload = {message.add().uid(), info.name(), info.namespace_(), info.service_account()};
      break;
    }
    case zds::WorkloadRequest::kKeep:
      request.kind = ZdsRequest::Kind::Keep;
      request.workload.uid = message.keep().uid();
      break;
    case zds::WorkloadRequest::kDel:
      request.kind = ZdsRequest::Kind::Delete;
      request.workload.uid = message.del().uid();
      break;
    case zds::WorkloadRequest::kSnapshotSent: request.kind = ZdsRequest::Kind::SnapshotSent; break;
    case zds::WorkloadRequest::PAYLOAD_NOT_SET:
      return fail(ErrorCode::Protocol, "a WorkloadRequest without a payload that is known here");
  }
  if (request.kind != ZdsRequest::Kind::Add && descriptors != 0) {
    return fail(ErrorCode::Protocol, "{} descriptors beside a message that has none", descriptors);
  }
  if (request.kind != ZdsRequest::Kind::SnapshotSent && request.workload.uid.empty()) {
    return fail(ErrorCode::Protocol, "a WorkloadRequest without a uid");
  }
  return request;
}

std::string make_zds_hello() {
  zds::ZdsHello hello;
  hello.set_version(zds::V1);
  return hello.SerializeAsString();
}

std::string make_zds_ack(std::string_view error) {
  zds::WorkloadResponse response;
  response.mutable_ack()->set_error(std::string(error.substr(0, kZdsErrorBytesMax)));
  return response.SerializeAsString();
}

}  // namespace culvert::control
