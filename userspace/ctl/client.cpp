// SPDX-License-Identifier: Apache-2.0
// Client; see client.hpp.
#include "ctl/client.hpp"

#include <array>
#include <cerrno>
#include <cstring>

#include <curl/curl.h>
#include <nlohmann/json.hpp>

namespace culvert::ctl {
namespace {

constexpr long kConnectMs = 3'000;
constexpr long kAnswerMs = 30'000;
constexpr std::size_t kAnswerBytesMax = std::size_t{256} << 20U;

std::size_t take(char* data, std::size_t size, std::size_t count, void* answer) {
  auto& text = *static_cast<std::string*>(answer);
  if (text.size() + size * count > kAnswerBytesMax) return 0;
  text.append(data, size * count);
  return size * count;
}

// What to do when nobody answers, by the errno of the connect.
std::string_view remedy(int error) {
  switch (error) {
    case EACCES:
    case EPERM: return "run culvertctl as root";
    case ENOENT:
      return "is culvertd running? Start it (systemctl start culvertd), or give its socket with --socket PATH";
    case ECONNREFUSED: return "culvertd is gone and left its socket behind; start it (systemctl start culvertd)";
    default: return "is culvertd running? See systemctl status culvertd";
  }
}

ErrorCode code_of(long status) {
  switch (status) {
    case 400: return ErrorCode::InvalidArgument;
    case 403: return ErrorCode::PermissionDenied;
    case 404: return ErrorCode::NotFound;
    case 409: return ErrorCode::AlreadyExists;
    case 503: return ErrorCode::ResourceExhausted;
    case 504: return ErrorCode::Timeout;
    default: return ErrorCode::Protocol;
  }
}

std::string error_text(const std::string& body, long status) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_string()) return json["error"].get<std::string>();
  return fmt::format("the agent answered with status {}", status);
}

}  // namespace

struct Client::Handle {
  Handle() { curl_global_init(CURL_GLOBAL_NOTHING); }
  ~Handle() {
    if (curl != nullptr) curl_easy_cleanup(curl);
    curl_global_cleanup();
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  CURL* curl = nullptr;
};

Client::Client(std::string socket_path) : socket_path_(std::move(socket_path)), handle_(std::make_unique<Handle>()) {
  handle_->curl = curl_easy_init();
}
Client::~Client() = default;

Result<std::string> Client::get(const std::string& path) { return ask("GET", path, nullptr); }
Result<std::string> Client::post(const std::string& path, const std::string& body) { return ask("POST", path, &body); }
Result<std::string> Client::remove(const std::string& path) { return ask("DELETE", path, nullptr); }

std::string Client::segment(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                          c == '.' || c == '_' || c == '~';
    out += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Result<std::string> Client::ask(const char* method, const std::string& path, const std::string* body) {
  CURL* curl = handle_->curl;
  if (curl == nullptr) return fail(ErrorCode::System, "libcurl could not be started");
  std::string answer;
  std::array<char, CURL_ERROR_SIZE> why{};
  const std::string url = "http://culvertd" + path;
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path_.c_str());
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, kAnswerMs);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why.data());
  curl_slist* fields = nullptr;
  if (body != nullptr) {
    fields = curl_slist_append(fields, "Content-Type: application/json");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->c_str());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, static_cast<long>(body->size()));
  }
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  long error = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
  if (fields != nullptr) curl_slist_free_all(fields);
  if (code != CURLE_OK) {
    const int number = static_cast<int>(error);
    const std::string text = number != 0      ? ::strerrordesc_np(number)
                             : why[0] != '\0' ? why.data()
                                              : curl_easy_strerror(code);
    return fail(ErrorCode::Unavailable, "cannot reach the agent at {}: {}; {}", socket_path_, text, remedy(number));
  }
  if (status < 200 || status > 299) return fail(code_of(status), "{}", error_text(answer, status));
  return answer;
}

}  // namespace culvert::ctl
