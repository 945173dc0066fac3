// SPDX-License-Identifier: Apache-2.0
// CpuProfiles; see cpu_profiles.hpp.
#include "admin/cpu_profiles.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/unique_fd.hpp"

namespace culvert::admin {
namespace {

constexpr std::uint64_t kLookMs = 100;     // between two looks at whether the client is still there
constexpr std::uint64_t kGraceMs = 5'000;  // of the connection's own limit, behind the end
constexpr std::size_t kPieceWords = 4'096;

HttpResponse text(std::string body, int status) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

// Of all mappings those of code from files: heaps and stacks are nobody's business, and no reader needs them.
std::string code_of(std::string_view maps) {
  std::string code;
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n') + 1);
    if (line.empty()) break;
    maps.remove_prefix(line.size());
    if (line.find(" r-xp ") != std::string_view::npos && line.find('/') != std::string_view::npos) code += line;
  }
  return code;
}

std::string read_maps() {
  std::string maps;
  const UniqueFd fd(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  std::array<char, 16'384> part;
  while (fd) {
    const ssize_t got = ::read(fd.get(), part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    maps.append(part.data(), static_cast<std::size_t>(got));
  }
  return code_of(maps);
}

void append_words(std::string& out, std::span<const std::uint64_t> words) {
  out.append(reinterpret_cast<const char*>(words.data()), words.size_bytes());
}

// Words are of this machine's order, as readers of the format expect.
class Body final : public BodySource {
 public:
  explicit Body(std::unique_ptr<CpuSampler> sampler)
      : sampler_(std::move(sampler)), left_(sampler_->words()), maps_(read_maps()) {}

  bool next(std::string& out) override {
    if (!std::exchange(has_begun_, true)) {
      append_words(out, std::array<std::uint64_t, 5>{0, 3, 0, sampler_->period_us(), 0});
    }
    const std::size_t count = std::min(left_.size(), kPieceWords);
    append_words(out, left_.first(count));
    left_ = left_.subspan(count);
    if (!left_.empty()) return true;
    append_words(out, std::array<std::uint64_t, 3>{0, 1, 0});
    out += maps_;
    return false;
  }

 private:
  std::unique_ptr<CpuSampler> sampler_;
  std::span<const std::uint64_t> left_;
  std::string maps_;
  bool has_begun_ = false;
};

// The parameter's value; `or_else` when it is not there; null: not such a number.
std::optional<std::uint32_t> number(const HttpRequest& request, std::string_view name, std::uint32_t max,
                                    std::uint32_t or_else) {
  if (!request.has_parameter(name)) return or_else;
  const std::string given = request.parameter(name);
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (error != std::errc() || end != given.data() + given.size() || value == 0 || value > max) return std::nullopt;
  return value;
}

}  // namespace

CpuProfiles::~CpuProfiles() {
  if (timer_ != 0) reactor_.cancel(timer_);
}

void CpuProfiles::begin(const HttpRequest& request, const HttpReply& reply) {
  const auto seconds = number(request, "seconds", kSecondsMax, kSecondsDefault);
  const auto frequency = number(request, "frequency", CpuSampler::kFrequencyHzMax, kFrequencyDefault);
  if (!seconds || !frequency) {
    return reply.send(
        text(fmt::format("usage: /debug/pprof/profile?seconds=N&frequency=N; seconds is a number from 1 to {}, "
                         "frequency (samples for each second of CPU time) one from 1 to {}\n",
                         kSecondsMax, CpuSampler::kFrequencyHzMax),
             400));
  }
  // Another one's client may have gone since the last look.
  if (timer_ != 0) look();
  auto started = CpuSampler::start(*frequency);
  if (!started) {
    const bool is_busy = started.error().code() == ErrorCode::AlreadyExists;
    return reply.send(text(started.error().message() + "\n", is_busy ? 409 : 500));
  }
  sampler_ = std::move(*started);
  reply_ = reply;
  reply_->expect_later(*seconds * 1'000ULL + kGraceMs);
  ends_ms_ = monotonic_ms() + *seconds * 1'000ULL;
  look();
}

void CpuProfiles::look() {
  if (timer_ != 0) reactor_.cancel(std::exchange(timer_, 0));
  const std::uint64_t now_ms = monotonic_ms();
  if (!reply_->is_awaited()) {
    sampler_.reset();
    reply_.reset();
    return;
  }
  if (now_ms < ends_ms_) {
    timer_ = reactor_.after_ms(std::min(kLookMs, ends_ms_ - now_ms), [this] {
      timer_ = 0;
      look();
    });
    return;
  }
  sampler_->stop();
  HttpResponse response;
  response.content_type = "application/octet-stream";
  response.source = std::make_unique<Body>(std::move(sampler_));
  std::exchange(reply_, std::nullopt)->send(std::move(response));
}

}  // namespace culvert::admin
