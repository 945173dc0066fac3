// SPDX-License-Identifier: Apache-2.0
// A session, either role, and a peer that may send anything after the handshake. The input's first byte chooses the role; the rest is a list of
// steps: a byte that says what to do, and for "the peer sends" a length and the bytes. Whatever comes: streams are told of in the order of their
// life, what is sent is whole frames, no more DATA than the windows allowed, and memory is left alone (the sanitizers say so).
// deps: culvert::hbone
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "base/bytes.hpp"
#include "hbone/session.hpp"

namespace {

using namespace culvert;
using namespace culvert::hbone;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// SETTINGS without entries, and the acknowledgement of ours.
constexpr std::array<std::uint8_t, 18> kSettings = {0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0};

void require(bool is_true) {
  if (!is_true) std::abort();
}

// Lives of streams; and answers, by the stream's number, so that an input finds each way.
class Model final : public Events {
 public:
  explicit Model(Session& session) noexcept : session_(session) {}

  void opened(StreamId stream) { require(streams_.emplace(stream, false).second); }
  void gone(StreamId stream) { streams_.erase(stream); }
  [[nodiscard]] std::size_t size() const noexcept { return streams_.size(); }
  [[nodiscard]] StreamId some(std::uint8_t choice) const {
    if (streams_.empty()) return choice;
    auto at = streams_.begin();
    std::advance(at, choice % streams_.size());
    return at->first;
  }

  void on_connect(StreamId stream, const ConnectRequest& request) override {
    opened(stream);
    for (const std::string_view text : {request.authority, request.baggage, request.forwarded, request.traceparent})
      touch(as_bytes(text));
    if (stream % 8 == 1) respond(stream, 200);
    if (stream % 8 == 3) respond(stream, 503);
    if (stream % 8 == 5) reset(stream);
  }
  void on_response(StreamId stream, const ConnectResponse& response) override {
    require(streams_.contains(stream) && response.status >= 200);
    if (stream % 8 == 3) reset(stream);
  }
  void on_data(StreamId stream, ByteView data) override {
    const auto found = streams_.find(stream);
    require(found != streams_.end() && !found->second && !data.empty());
    touch(data);
    session_.consume_connection(data.size());
    if (stream % 4 == 1) session_.consume_stream(stream, data.size());
  }
  void on_end(StreamId stream) override {
    const auto found = streams_.find(stream);
    require(found != streams_.end() && !found->second);
    found->second = true;
    if (stream % 4 == 1) finish(stream);
  }
  void on_closed(StreamId stream, StreamEnd, std::uint32_t) override { require(streams_.erase(stream) == 1); }
  void on_writable(StreamId stream) override { require(stream == 0 || streams_.contains(stream)); }
  void on_go_away(std::uint32_t) override {
    require(!was_told_go_away_);
    was_told_go_away_ = true;
  }

  // Reads every byte, so that a view of memory that is gone is seen.
  void touch(ByteView data) {
    for (const std::uint8_t byte : data) sum_ += byte;
    require(sum_ != ~std::size_t{0});
  }
  void respond(StreamId stream, std::uint16_t status) {
    session_.respond(stream, status, "service.name=x");
    if (status != 200) gone(stream);
  }
  void reset(StreamId stream) {
    session_.reset(stream, kCancel);
    gone(stream);
  }
  void finish(StreamId stream) {
    if (session_.finish(stream)) gone(stream);
  }

 private:
  Session& session_;
  std::map<StreamId, bool> streams_;  // has its peer ended
  bool was_told_go_away_ = false;
  std::size_t sum_ = 0;
};

// Whole frames, of types that we send.
void check_frames(ByteView bytes) {
  ByteReader reader(bytes);
  while (reader.remaining() > 0) {
    const std::size_t high = reader.u8();
    const std::size_t size = high << 16U | reader.u16();
    const std::uint8_t type = reader.u8();
    static_cast<void>(reader.take(5));
    static_cast<void>(reader.take(size));
    require(reader.ok() && type <= 9 && size <= (1U << 20U));
  }
}

void take_all(Session& session, bool is_first, bool is_server) {
  std::vector<std::uint8_t> all;
  std::array<std::uint8_t, 100> part;
  while (session.wants_write()) {
    const std::size_t count = session.take_control(part);
    require(count > 0);
    all.insert(all.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(count));
  }
  check_frames(ByteView(all).subspan(is_first && !is_server ? kPreface.size() : 0));
}

void send_data(Session& session, StreamId stream, std::size_t want) {
  take_all(session, false, true);
  const std::size_t payload = std::min(want, session.send_window(stream));
  if (payload == 0) return;
  std::vector<std::uint8_t> area(session.framed_bytes(payload));
  const std::size_t framed = session.frame_data(stream, area, payload);
  require(framed == area.size());
  check_frames(area);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  ByteReader reader({data, size});
  const bool is_server = (reader.u8() & 1U) == 0;
  Limits limits;
  limits.stream_window = 10'000;
  limits.connection_window = 80'000;
  std::uint64_t now_ms = 1'000;
  const std::unique_ptr<Session> session =
      is_server ? Session::server(limits, now_ms) : Session::client(limits, now_ms);
  require(session != nullptr);
  Model model(*session);
  take_all(*session, true, is_server);
  if (is_server) require(session->receive(as_bytes(kPreface), now_ms, model));
  require(session->receive(kSettings, now_ms, model));
  bool is_alive = true;
  while (reader.remaining() > 0) {
    const std::uint8_t step = reader.u8();
    const StreamId stream = model.some(step >> 4U);
    switch (step & 15U) {
      case 0: {
        const StreamId made = session->connect({.authority = "10.0.0.1:80", .baggage = "service.name=a"});
        if (made != kNoStream) model.opened(made);
        break;
      }
      case 1: model.respond(stream, 200); break;
      case 2: model.finish(stream); break;
      case 3: model.reset(stream); break;
      case 4: send_data(*session, stream, std::size_t{step} * 100 + 1); break;
      case 5: session->consume_stream(stream, 5'000); break;
      case 6: session->go_away(); break;
      case 7:
        now_ms = std::max(now_ms, std::min(now_ms + 30'000, session->next_tick_ms()));
        is_alive = session->tick(now_ms) && is_alive;
        break;
      case 8: take_all(*session, false, is_server); break;
      default: {
        const std::size_t count = std::min<std::size_t>(reader.u8(), reader.remaining());
        const ByteView bytes = reader.take(count);
        // Its own allocation: a read past the end is seen.
        const std::vector<std::uint8_t> own(bytes.begin(), bytes.end());
        const bool still = session->receive(own, now_ms, model);
        require(is_alive || !still);
        is_alive = still;
      }
    }
    require(model.size() == session->live_streams());
    if (!session->can_connect())
      require(is_server || !is_alive || session->is_going_away() || session->live_streams() >= session->streams_max());
  }
  take_all(*session, false, is_server);
  return 0;
}
