// SPDX-License-Identifier: Apache-2.0
#include "proxy/listing.hpp"

#include <algorithm>
#include <utility>

#include "proxy/admission.hpp"
#include "proxy/finisher.hpp"

namespace culvert::proxy {

void Listing::begin(ListConnections&& message) { waiting_.push_back({std::move(message), 0, {}}); }

void Listing::run() {
  if (!has_more()) return;
  Round& round = waiting_.front();
  const std::size_t places = state_.flows.places();
  const std::size_t stop = std::min(places, round.place + kPlacesPerTurn);
  // A page a turn: one list of all would be moved as a whole each time that it grew.
  std::vector<telemetry::ConnectionLog> page;
  page.reserve(std::min(kRowsPerTurn, state_.flows.size()));
  while (round.place < stop && page.size() < kRowsPerTurn) {
    if (Flow* flow = state_.flows.at_place(round.place++)) add(page, *flow);
  }
  if (!page.empty()) round.pages.push_back(std::move(page));
  if (round.place < places) return;
  Round finished = std::move(round);
  waiting_.pop_front();
  finished.message.done(std::move(finished.pages));
}

void Listing::add(std::vector<telemetry::ConnectionLog>& page, Flow& flow) {
  telemetry::ConnectionLog& row = page.emplace_back(state_.finisher->describe(flow));
  if (!flow.is_inbound()) return;
  if (!row.why.empty()) row.why += "; ";
  row.why += state_.admission->standing(flow);
}

}  // namespace culvert::proxy
