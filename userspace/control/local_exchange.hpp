// SPDX-License-Identifier: Apache-2.0
// Exchanges one local mesh (LOCAL_XDS) for another in a store that holds the control plane's objects as well. Control thread.
#pragma once

#include <span>
#include <string>

#include "control/local_mesh.hpp"
#include "control/xds_session.hpp"
#include "state/store.hpp"

namespace culvert::control {

// `was` is in the store as far as nothing of the control plane's has its place. Touches what differs alone, and nothing that the control plane has
// named: its object counts, and stays when the local one goes. Of several local ones with one name the last counts. Does not publish.
void exchange_local_mesh(state::Store& store, const XdsSession& session, const LocalMesh& was, const LocalMesh& now);
// The control plane has removed objects of these names: local ones that had to stand back are in force again. Does not publish.
void restore_local_mesh(state::Store& store, const XdsSession& session, const LocalMesh& local,
                        std::span<const std::string> removed);

}  // namespace culvert::control
