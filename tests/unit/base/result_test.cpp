// SPDX-License-Identifier: Apache-2.0
#include "base/result.hpp"

#include <cerrno>
#include <memory>

#include <catch2/catch.hpp>

using namespace culvert;  // NOLINT(google-build-using-namespace): a test of this module

namespace {

Result<int> parse_positive(int value) {
  if (value <= 0) return fail(ErrorCode::InvalidArgument, "{} is not positive", value);
  return value;
}

Result<std::unique_ptr<int>> boxed(int value) {
  // Twice in one function: the macro's names do not collide, and what cannot be copied is moved.
  const int first = CV_TRY(parse_positive(value));
  const int second = CV_TRY(parse_positive(first + 1));
  return std::make_unique<int>(second);
}

Result<void> at_the_edge(int value) {
  const std::unique_ptr<int> box = CV_TRY(with_context(boxed(value), "boxing"));
  if (*box > 100) return fail(ErrorCode::ResourceExhausted, "too big");
  return {};
}

}  // namespace

TEST_CASE("CV_TRY unwraps a value and passes an error up with its context") {
  CHECK(at_the_edge(1));
  const auto refused = at_the_edge(-3);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::InvalidArgument);
  CHECK(refused.error().message() == "boxing: -3 is not positive");
  CHECK(at_the_edge(100).error().code() == ErrorCode::ResourceExhausted);
}

TEST_CASE("contexts stand outermost first and the errno's text last") {
  Result<int> result = fail_errno(ENOENT, "cannot open {}", "/x");
  result.error().add_context("reading the config");
  result.error().add_context("starting");
  CHECK(result.error().message() == "starting: reading the config: cannot open /x: No such file or directory");
  CHECK(result.error().sys_errno() == ENOENT);
  CHECK(result.error().code() == ErrorCode::System);
}

TEST_CASE("a good result gets no context") {
  const auto result = with_context(parse_positive(5), "unused");
  REQUIRE(result);
  CHECK(*result == 5);
}

TEST_CASE("every code has a name of its own") {
  CHECK(to_string(ErrorCode::System) == "system");
  CHECK(to_string(ErrorCode::Timeout) == "timeout");
  for (int code = 0; code <= static_cast<int>(ErrorCode::Timeout); ++code) {
    CHECK(to_string(static_cast<ErrorCode>(code)) != "unknown");
  }
}
