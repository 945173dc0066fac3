// SPDX-License-Identifier: Apache-2.0
// The JSON codec of culvert/cni/messages.hpp. Linked into the agent and into the plugin; knows nothing of either.
#include "culvert/cni/messages.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <nlohmann/json.hpp>

#include "enroll/json_fields.hpp"

namespace culvert::cni {
namespace {

using enroll::Fields;
using enroll::Need;
using nlohmann::json;

constexpr std::size_t kAnswerTextBytesMax = 4096;
constexpr std::array<std::string_view, 3> kMemberships = {"unknown", "inside", "outside"};
constexpr std::array<std::string_view, 2> kEnrols = {"always", "ask"};
constexpr std::array kAnswerWords = {
#define X(name, word) std::string_view(word),
    CV_CNI_ANSWERS(X)
#undef X
};

bool is_name_byte(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '-' ||
         byte == '_' || byte == '.';
}

// The enumerator whose word stands under `key`.
template <typename Enum, std::size_t N>
Enum word_field(Fields& fields, const char* key, const std::array<std::string_view, N>& words, Enum otherwise,
                Need need) {
  const std::string word = fields.text(key, 64, need);
  if (!fields.ok() || word.empty()) return otherwise;
  const auto place = std::ranges::find(words, std::string_view(word));
  if (place == words.end()) {
    fields.wrong(key, "a word of this protocol");
    return otherwise;
  }
  return static_cast<Enum>(place - words.begin());
}

std::string id_field(Fields& fields) {
  std::string id = fields.text("id", kIdBytesMax);
  if (fields.ok() && !is_valid_id(id)) {
    fields.wrong("id", "1 to 128 letters, digits, '.', '_', '-', not starting with a dot");
  }
  return id;
}

// Required: an agent that passed over a bound would take a part for the whole.
std::string bound_field(Fields& fields, const char* key) {
  std::string id = fields.text(key, kIdBytesMax);
  if (fields.ok() && !id.empty() && !is_valid_id(id)) fields.wrong(key, "empty or a container's id");
  return id;
}

PodName pod_field(Fields& fields) {
  const json* object = fields.object("pod");
  if (object == nullptr) return {};
  Fields pod(*object, "\"pod\"");
  PodName name;
  for (const auto& [key, target] : {std::pair("name", &name.name), std::pair("namespace", &name.namespace_name),
                                    std::pair("service_account", &name.service_account)}) {
    *target = pod.text(key, kNameBytesMax);
    if (!is_valid_name(*target)) pod.wrong(key, "empty or letters, digits, '.', '_', '-'");
  }
  if (const auto finished = pod.finish(ErrorCode::Protocol); !finished) fields.error(finished.error().message());
  return name;
}

std::vector<IpAddress> addresses_field(Fields& fields) {
  std::vector<IpAddress> addresses;
  for (const std::string& text : fields.texts("addresses", kAddressesMax, 64)) {
    const auto address = IpAddress::parse(text);
    if (!address) {
      fields.error(fmt::format("\"addresses\": {}", address.error().message()));
      return {};
    }
    addresses.push_back(*address);
  }
  return addresses;
}

json to_json(const PodName& pod) {
  return {{"name", pod.name}, {"namespace", pod.namespace_name}, {"service_account", pod.service_account}};
}

std::string_view word(Enrol enrol) { return kEnrols[static_cast<std::size_t>(enrol)]; }

struct ToJson {
  json operator()(const JoinRequest& request) const {
    json addresses = json::array();
    for (const IpAddress& address : request.addresses) addresses.push_back(address.to_string());
    return {{"type", "join"},
            {"id", request.id},
            {"network", request.network},
            {"pod", to_json(request.pod)},
            {"netns_path", request.netns_path},
            {"addresses", std::move(addresses)},
            {"enrol", word(request.enrol)}};
  }
  json operator()(const CheckRequest& request) const {
    return {{"type", "check"}, {"id", request.id}, {"pod", to_json(request.pod)}, {"enrol", word(request.enrol)}};
  }
  json operator()(const LeaveRequest& request) const { return {{"type", "leave"}, {"id", request.id}}; }
  json operator()(const GcRequest& request) const {
    return {{"type", "gc"},
            {"network", request.network},
            {"after", request.after},
            {"until", request.until},
            {"valid_ids", request.valid_ids}};
  }
  json operator()(const StatusRequest&) const { return {{"type", "status"}}; }
  json operator()(const EligibilityRequest& request) const {
    return {{"type", "eligibility"}, {"pod", to_json(request.pod)}};
  }
};

Request request_fields(Fields& fields, const std::string& type) {
  if (type == "join") {
    JoinRequest request;
    request.id = id_field(fields);
    request.network = fields.text("network", kNameBytesMax);
    request.pod = pod_field(fields);
    request.netns_path = fields.text("netns_path", kPathBytesMax);
    request.addresses = addresses_field(fields);
    request.enrol = word_field(fields, "enrol", kEnrols, Enrol::Ask, Need::Required);
    return request;
  }
  if (type == "check") {
    CheckRequest request;
    request.id = id_field(fields);
    request.pod = pod_field(fields);
    request.enrol = word_field(fields, "enrol", kEnrols, Enrol::Ask, Need::Required);
    return request;
  }
  if (type == "leave") return LeaveRequest{id_field(fields)};
  if (type == "gc") {
    GcRequest request;
    request.network = fields.text("network", kNameBytesMax);
    request.after = bound_field(fields, "after");
    request.until = bound_field(fields, "until");
    request.valid_ids = fields.texts("valid_ids", kValidIdsMax, kIdBytesMax);
    return request;
  }
  if (type == "eligibility") return EligibilityRequest{pod_field(fields)};
  if (type != "status") fields.error(fmt::format("\"{}\" is not a request of this protocol", type));
  return StatusRequest{};
}

// The document, once its size, syntax and version are right.
Result<json> open_document(std::string_view packet, const char* what) {
  if (packet.size() > kMessageBytesMax) {
    return fail(ErrorCode::Protocol, "{} has {} bytes; at most {} are allowed", what, packet.size(), kMessageBytesMax);
  }
  json document = json::parse(packet, nullptr, false);
  if (document.is_discarded()) return fail(ErrorCode::Protocol, "{} is not JSON", what);
  Fields fields(document, what);
  const std::uint64_t version = fields.number("v", std::numeric_limits<std::uint32_t>::max());
  CV_TRY(fields.finish(ErrorCode::Protocol));
  if (version != kProtocolVersion) {
    return fail(
        ErrorCode::Unsupported,
        "{} speaks version {} of the plugin protocol, this program version {}; install culvertd and culvert-cni of one "
        "release",
        what, version, kProtocolVersion);
  }
  return document;
}

}  // namespace

std::string_view to_string(AnswerCode code) noexcept { return kAnswerWords[static_cast<std::size_t>(code)]; }
std::string_view to_string(Membership membership) noexcept {
  return kMemberships[static_cast<std::size_t>(membership)];
}

bool is_valid_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= kIdBytesMax && id.front() != '.' && std::ranges::all_of(id, is_name_byte);
}

bool is_valid_name(std::string_view name) noexcept {
  return name.size() <= kNameBytesMax && name != "." && name != ".." && std::ranges::all_of(name, is_name_byte);
}

std::vector<GcRequest> split_gc(const std::string& network, std::vector<std::string> valid_ids) {
  constexpr std::size_t kFrameBytes = 1024;  // the other members, at their longest
  constexpr std::size_t kPerIdBytes = 3;     // quotes and a comma
  std::erase_if(valid_ids, [](const std::string& id) { return !is_valid_id(id); });
  std::ranges::sort(valid_ids);
  const auto repeated = std::ranges::unique(valid_ids);
  valid_ids.erase(repeated.begin(), repeated.end());
  std::vector<GcRequest> requests{{.network = network, .valid_ids = {}, .after = {}, .until = {}}};
  std::size_t bytes = kFrameBytes;
  for (std::string& id : valid_ids) {
    if (bytes + id.size() + kPerIdBytes > kMessageBytesMax) {
      GcRequest& full = requests.back();
      full.until = full.valid_ids.back();
      requests.push_back({.network = network, .valid_ids = {}, .after = full.until, .until = {}});
      bytes = kFrameBytes;
    }
    bytes += id.size() + kPerIdBytes;
    requests.back().valid_ids.push_back(std::move(id));
  }
  return requests;
}

Result<std::string> encode(const Request& request) {
  json document = std::visit(ToJson{}, request);
  document["v"] = kProtocolVersion;
  std::string packet = enroll::dump(document);
  if (packet.size() > kMessageBytesMax) {
    return fail(ErrorCode::InvalidArgument, "the request for the agent has {} bytes; at most {} are allowed",
                packet.size(), kMessageBytesMax);
  }
  return packet;
}

std::string encode(const Answer& answer) {
  return enroll::dump({{"v", kProtocolVersion},
                       {"code", to_string(answer.code)},
                       {"message", answer.message.substr(0, kAnswerTextBytesMax)},
                       {"membership", to_string(answer.membership)},
                       {"slot", answer.slot}});
}

Result<Request> decode_request(std::string_view packet) {
  const json document = CV_TRY(open_document(packet, "the request"));
  Fields fields(document, "the request");
  const std::string type = fields.text("type", 64);
  Request request = fields.ok() ? request_fields(fields, type) : Request(StatusRequest{});
  CV_TRY(fields.finish(ErrorCode::Protocol));
  return request;
}

Result<Answer> decode_answer(std::string_view packet) {
  const json document = CV_TRY(open_document(packet, "the answer"));
  Fields fields(document, "the answer");
  Answer answer;
  answer.code = word_field(fields, "code", kAnswerWords, AnswerCode::Failed, Need::Required);
  answer.message = fields.text("message", kMessageBytesMax, Need::Optional);
  answer.membership = word_field(fields, "membership", kMemberships, Membership::Unknown, Need::Optional);
  answer.slot =
      static_cast<std::uint32_t>(fields.number("slot", std::numeric_limits<std::uint32_t>::max(), Need::Optional));
  CV_TRY(fields.finish(ErrorCode::Protocol));
  return answer;
}

}  // namespace culvert::cni
