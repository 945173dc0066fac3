// SPDX-License-Identifier: Apache-2.0
// What start-up or a large push touched and nobody needs any more. Control thread.
#pragma once

namespace culvert::app {

// Unmaps the clean pages of the program and its libraries (they come back from the page cache when they are used) and gives
// freed heap back to the system. Start-up runs through self-tests, configuration and certificates; an idle agent keeps
// a few hundred KiB of that. A push that is as large as the mesh takes several times what is kept of it. Never fails: what /proc does not tell stays as it is.
void release_unused_pages() noexcept;

}  // namespace culvert::app
