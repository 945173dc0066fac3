// SPDX-License-Identifier: Apache-2.0
// The environment variables that OpenTelemetry's specification gives to everything that exports traces (docs/tracing.md). Pure.
#pragma once

#include "control/environment_reader.hpp"
#include "control/tracing_config.hpp"

namespace culvert::control {

// A variable that is empty counts as not set. One that cannot be read is told to the reader.
void read_tracing(EnvironmentReader& reader, TracingConfig& to);

}  // namespace culvert::control
