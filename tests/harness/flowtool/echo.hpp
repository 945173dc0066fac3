// SPDX-License-Identifier: Apache-2.0
// An echo server on epoll, cheap enough to stand behind latency and connection-rate measurements.
#pragma once

#include <cstdint>

namespace flowtool {

// Serves until it is killed. With `tells_peer` a connection first gets one line: the peer's address as this side sees it.
[[noreturn]] void serve_echo(std::uint16_t port, unsigned threads, bool tells_peer);

}  // namespace flowtool
