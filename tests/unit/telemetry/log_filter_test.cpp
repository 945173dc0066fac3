// SPDX-License-Identifier: Apache-2.0
// RUST_LOG as ztunnel has it, for the agent's two scopes.
#include <string>

#include <catch2/catch.hpp>

#include "telemetry/log_filter.hpp"

namespace culvert::telemetry {

TEST_CASE("directives say a level for everything and for scopes; the last one of a scope counts") {
  struct Case {
    const char* directives;
    const char* filter;
    Level messages;
    Level access;
  };
  const auto [directives, filter, messages, access] = GENERATE(values<Case>({
      {"", "info", Level::Info, Level::Info},
      {"debug", "debug", Level::Debug, Level::Debug},
      {"TRACE", "debug", Level::Debug, Level::Debug},
      {"Warning", "warn", Level::Warn, Level::Warn},
      {"0", "off", Level::Off, Level::Off},
      {"5", "debug", Level::Debug, Level::Debug},
      {"off", "off", Level::Off, Level::Off},
      {"info,access=off", "info,access=off", Level::Info, Level::Off},
      {"access=error , debug", "debug,access=error", Level::Debug, Level::Error},
      {"ztunnel=debug", "info,culvert=debug", Level::Debug, Level::Info},
      {"culvert=warn,ztunnel=error", "info,culvert=error", Level::Error, Level::Info},
      {"ztunnel::access=warn", "info,access=warn", Level::Info, Level::Warn},
      {"ztunnel::xds=trace,hickory_server::server=off", "info", Level::Info, Level::Info},
      {",,warn,", "warn", Level::Warn, Level::Warn},
  }));
  INFO(directives);
  const auto made = apply_directives({}, directives);
  REQUIRE(made);
  CHECK(to_string(*made) == filter);
  CHECK(made->of_messages() == messages);
  CHECK(made->of_access() == access);
  CHECK(apply_directives({}, to_string(*made)).value() == *made);
}

TEST_CASE("what is put on top leaves the other scopes as they were") {
  const LogFilter before{.level = Level::Warn, .messages = {}, .access = Level::Off};
  CHECK(to_string(apply_directives(before, "debug").value()) == "debug,access=off");
  CHECK(to_string(apply_directives(before, "access=info").value()) == "warn,access=info");
}

TEST_CASE("a directive that cannot be read is named") {
  for (const std::string bad :
       {"loud", "access=", "=info", "access=loud", "a b=info", "x[y]=info", "6", "info=access", "inf\xc3\xb6"}) {
    INFO(bad);
    const auto made = apply_directives({}, "info," + bad);
    REQUIRE_FALSE(made);
    CHECK_THAT(made.error().message(), Catch::Contains("is not LEVEL or SCOPE=LEVEL"));
  }
}

}  // namespace culvert::telemetry
