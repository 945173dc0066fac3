// SPDX-License-Identifier: Apache-2.0
#include "dns/proxy.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"
#include "core/netns.hpp"
#include "dns/mesh_names.hpp"
#include "dns/proxy_state.hpp"

namespace culvert::dns {
namespace {

std::string type_name(std::uint16_t type) {
  if (type == kTypeA) return "a";
  return type == kTypeAaaa ? "aaaa" : "other";
}

void note_duration(CounterRow& row, std::uint64_t started_ns) {
  const double seconds = static_cast<double>(monotonic_ns() - started_ns) / 1e9;
  const auto place = std::ranges::lower_bound(kUpstreamBucketsS, seconds);
  ++row.upstream_durations[static_cast<std::size_t>(place - kUpstreamBucketsS.begin())];
  row.upstream_sum_s += seconds;
}

}  // namespace

Proxy::State::State(Reactor& loop, Counters& counting, Options chosen, UniqueFd home_netns)
    : reactor(loop), counters(counting), options(std::move(chosen)), home(std::move(home_netns)) {
  forwarder = std::make_unique<Forwarder>(reactor, [this](int family, int type) { return pod_socket(family, type); });
}

void Proxy::State::tell(const Query& query, std::string_view result, std::size_t endpoints) const {
  if (options.log) options.log({type_text(query.type), query.name, result, endpoints});
}

void Proxy::State::take(ByteView packet, bool is_tcp, Reply reply) {
  const ParsedQuery parsed = parse_query(packet);
  switch (parsed.state) {
    case QueryState::Drop: return reply({});
    case QueryState::FormErr: return reply(make_refusal(packet, Rcode::FormErr));
    case QueryState::NotImp: return reply(make_refusal(packet, Rcode::NotImp));
    case QueryState::Good: break;
  }
  const Query& query = parsed.query;
  const std::size_t bytes_max = is_tcp ? kAnswerBytesMax : query.udp_bytes_max;
  const View view = options.look();
  CounterKey key{type_name(query.type), is_tcp, "unknown", "unknown"};
  if (view.workload != nullptr) {
    key.source_service = view.workload->canonical_name();
    key.source_revision = view.workload->canonical_revision();
  }
  ++counters.at(key, monotonic_ms()).requests;
  if (view.snapshot == nullptr || !view.is_known) {
    Answer unknown;
    unknown.code = Rcode::ServFail;
    tell(query, "the mesh does not know this pod yet");
    return reply(make_answer(packet, query, unknown, bytes_max));
  }
  Decision decision = decide(*view.snapshot, {options.namespace_name, options.network, options.domain}, query);
  if (decision.is_forwarded) return forward(packet, query, is_tcp, std::move(key), std::move(reply));
  tell(query, decision.result, decision.answer.addresses.size());
  std::ranges::shuffle(decision.answer.addresses, random);
  reply(make_answer(packet, query, decision.answer, bytes_max));
}

void Proxy::State::forward(ByteView packet, const Query& query, bool is_tcp, CounterKey key, Reply reply) {
  ++counters.at(key, monotonic_ms()).upstream_requests;
  forwarder->ask(packet,
                 [this, query, is_tcp, key = std::move(key), reply = std::move(reply), started_ns = monotonic_ns(),
                  question = std::vector<std::uint8_t>(packet.begin(), packet.end())](ByteView answer, Rcode code,
                                                                                      const char* why) {
                   CounterRow& row = counters.at(key, monotonic_ms());
                   note_duration(row, started_ns);
                   const std::size_t bytes_max = is_tcp ? kAnswerBytesMax : query.udp_bytes_max;
                   std::vector<std::uint8_t> passed = pass_on(answer, query.id, bytes_max);
                   if (!passed.empty()) {
                     tell(query, "forwarded", answer_count(answer));
                     return reply(std::move(passed));
                   }
                   ++row.upstream_failures;
                   tell(query, fmt::format("forwarding failed ({})", why == nullptr ? "no answer" : why));
                   Answer failed;
                   failed.code = code == Rcode::NoError ? Rcode::ServFail : code;
                   reply(make_answer(question, query, failed, bytes_max));
                 });
}

Proxy::Proxy(std::unique_ptr<State> state) : state_(std::move(state)) {}
Proxy::~Proxy() = default;

Result<std::unique_ptr<Proxy>> Proxy::open(Reactor& reactor, Counters& counters, Options options) {
  UniqueFd home = CV_TRY(open_current_netns());
  auto state = std::make_unique<State>(reactor, counters, std::move(options), std::move(home));
  CV_TRY(with_context(state->open_sockets(), "the pod's DNS proxy"));
  return std::unique_ptr<Proxy>(new Proxy(std::move(state)));
}

}  // namespace culvert::dns
