// SPDX-License-Identifier: Apache-2.0
// deps: culvert::admin
// What anyone who reaches the metrics port, the local port or the admin socket may send: a request's head, a host's name, directives of the
// log and the body of a join. Whatever is accepted must hold what the parsers promise.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "admin/http_request.hpp"
#include "admin/json_view.hpp"
#include "admin/local_routes.hpp"
#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "telemetry/log_filter.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kBodyBytesMax = 65'536;
  const std::string_view text = culvert::as_text({data, size});
  culvert::admin::HttpRequest request;
  const auto parsed = culvert::admin::parse_head(text, kBodyBytesMax, request);
  if (parsed.state == culvert::admin::ParsedHead::State::Done) {
    CV_ASSERT(parsed.head_bytes <= size && parsed.head_bytes <= culvert::admin::kHeadBytesMax);
    CV_ASSERT(request.path.starts_with('/') && request.path.find('\0') == std::string::npos);
    CV_ASSERT(request.content_length <= kBodyBytesMax);
    static_cast<void>(request.parameter("level"));
  } else if (parsed.state == culvert::admin::ParsedHead::State::Bad) {
    CV_ASSERT(parsed.status >= 400 && parsed.status < 600 && !parsed.reason.empty());
  } else {
    CV_ASSERT(size < culvert::admin::kHeadBytesMax);
  }
  if (const auto filter = culvert::telemetry::apply_directives({}, text)) {
    CV_ASSERT(culvert::telemetry::apply_directives({}, culvert::telemetry::to_string(*filter)) == *filter);
  }
  CV_ASSERT(!culvert::admin::is_local_host(text) || size <= std::string_view("127.0.0.1:65535").size());
  if (const auto join = culvert::admin::parse_join(text)) CV_ASSERT(join->netns_path.starts_with('/'));
  return 0;
}
