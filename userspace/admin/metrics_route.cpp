// SPDX-License-Identifier: Apache-2.0
// GET /metrics: what was asked for decides format and coding; the body is made in parts, as the client takes them.
#include <memory>
#include <utility>

#include "admin/compressor.hpp"
#include "admin/negotiation.hpp"
#include "admin/routes.hpp"
#include "telemetry/exposition.hpp"

namespace culvert::admin {
namespace {

// About what is made at once: half a millisecond's work.
constexpr std::size_t kPartBytes = 64 * 1024;

class Body final : public BodySource {
 public:
  Body(telemetry::Scrape scrape, telemetry::ExpositionFormat format, std::unique_ptr<Compressor> compressor)
      : exposition_(std::move(scrape), format), compressor_(std::move(compressor)) {}

  // The first piece, before the body is sent. False: that is all of it.
  bool begin() { return has_more_ = make(first_); }
  [[nodiscard]] std::string take_first() noexcept { return std::exchange(first_, {}); }

  bool next(std::string& out) override {
    if (!first_.empty()) {
      out += take_first();
    } else if (has_more_) {
      has_more_ = make(out);
    }
    return has_more_;
  }

 private:
  bool make(std::string& out) {
    if (compressor_ == nullptr) return exposition_.next(out, kPartBytes);
    plain_.clear();
    const bool has_more = exposition_.next(plain_, kPartBytes);
    compressor_->compress(plain_, !has_more, out);
    return has_more;
  }

  telemetry::Exposition exposition_;
  std::unique_ptr<Compressor> compressor_;
  std::string plain_;
  std::string first_;
  bool has_more_ = true;
};

HttpResponse plain_text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

}  // namespace

void route_metrics(Provider& provider, const HttpRequest& request, const HttpReply& reply) {
  if (request.path != "/metrics" && request.path != "/stats/prometheus") {
    return reply.send(plain_text(404, "not found\n"));
  }
  if (request.method != "GET" && request.method != "HEAD") {
    HttpResponse response = plain_text(405, "the method is not allowed here, only GET, HEAD\n");
    response.allow = "GET, HEAD";
    return reply.send(std::move(response));
  }
  const std::optional<ContentCoding> coding = content_coding(request.accept_encoding);
  if (!coding) {
    return reply.send(
        plain_text(406, "Accept-Encoding refuses identity, gzip and deflate, and there is nothing else here\n"));
  }
  const telemetry::ExpositionFormat format = exposition_format(request.accept);
  auto compressor = Compressor::create(*coding);
  HttpResponse response;
  response.content_type = telemetry::content_type(format);
  if (compressor != nullptr) response.content_encoding = to_string(*coding);
  response.vary = "Accept, Accept-Encoding";
  auto body = std::make_unique<Body>(provider.metrics(), format, std::move(compressor));
  // What fits into one piece has a length like any other answer.
  if (body->begin()) {
    response.source = std::move(body);
  } else {
    response.body = body->take_first();
  }
  reply.send(std::move(response));
}

}  // namespace culvert::admin
