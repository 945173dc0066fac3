// SPDX-License-Identifier: Apache-2.0
// Issue, renewal, retries and expiry of certificates under a clock that the test moves.
#include "control/certificate_manager.hpp"

#include <deque>
#include <filesystem>

#include <catch2/catch.hpp>

#include "fake_scheduler.hpp"
#include "test_credentials.hpp"
#include "tls/embedded_ca.hpp"

namespace culvert::control {
namespace {

constexpr std::int64_t kStartMs = FakeScheduler::kStartMs;
constexpr std::int64_t kSecond = 1'000;
constexpr std::int64_t kHour = 3'600 * kSecond;

// Answers at once, or keeps the replies for the test to give.
class FakeSource final : public CertificateSource {
 public:
  explicit FakeSource(const Scheduler& clock) : clock_(clock) {}

  void request(const SpiffeId& identity, Reply reply) override {
    ++requests;
    asked.push_back(identity.service_account);
    if (is_slow) {
      waiting.emplace_back(identity, std::move(reply));
    } else {
      reply(answer(identity));
    }
  }
  Result<std::shared_ptr<const tls::Credentials>> answer(const SpiffeId& identity) const {
    if (!error.empty()) return fail(ErrorCode::Unavailable, "{}", error);
    const std::int64_t now_s = clock_.wall_ms() / kSecond;
    return test::make_credentials(identity, now_s - 120, now_s + lifetime_s);
  }

  std::int64_t lifetime_s = 24 * 3'600;
  std::string error;
  bool is_slow = false;
  int requests = 0;
  std::vector<std::string> asked;  // service accounts, in order
  std::deque<std::pair<SpiffeId, Reply>> waiting;
  void answer_next() {
    const auto [identity, reply] = std::move(waiting.front());
    waiting.pop_front();
    reply(answer(identity));
  }

 private:
  const Scheduler& clock_;
};

struct World {
  FakeScheduler clock;
  FakeSource source{clock};
  std::vector<std::shared_ptr<const tls::Credentials>> changes;
  std::vector<std::string> failures;
  std::unique_ptr<CertificateManager> manager = std::make_unique<CertificateManager>(
      source, clock, [this](const SpiffeId&, auto credentials) { changes.push_back(std::move(credentials)); },
      [this](const SpiffeId&, const Error& error) { failures.push_back(error.message()); });
  SpiffeId cart = SpiffeId::make("cluster.local", "shop", "cart").value();

  static SpiffeId account(int number) {
    return SpiffeId::make("cluster.local", "shop", fmt::format("sa-{}", number)).value();
  }
  CertificateStatus status() {
    const auto rows = manager->certificates();
    REQUIRE(rows.size() == 1);
    return rows.front();
  }
};

TEST_CASE("the first pod of an identity gets a certificate, the second shares it") {
  World world;
  world.manager->hold(world.cart);
  const auto first = world.manager->current(world.cart);
  REQUIRE(first != nullptr);
  CHECK(world.changes == std::vector{first});
  world.manager->hold(world.cart);
  CHECK(world.manager->current(world.cart) == first);
  CHECK(world.source.requests == 1);
  const CertificateStatus status = world.status();
  CHECK(to_string(status) == "available");
  CHECK(status.identity == world.cart);
  CHECK(status.serial_decimal == first->info().serial_decimal);
  CHECK(status.not_after_s == kStartMs / kSecond + 24 * 3'600);
  CHECK(status.rotates_at_s == kStartMs / kSecond + 12 * 3'600);
}

TEST_CASE("an identity is forgotten when its last pod has gone") {
  World world;
  world.manager->hold(world.cart);
  world.manager->hold(world.cart);
  world.manager->release(world.cart);
  CHECK(world.manager->current(world.cart) != nullptr);
  world.manager->release(world.cart);
  CHECK(world.manager->current(world.cart) == nullptr);
  CHECK(world.manager->certificates().empty());
  CHECK(world.clock.timers() == 0);
  world.manager->release(world.cart);
  world.clock.advance(48 * kHour);
  CHECK(world.source.requests == 1);
}

TEST_CASE("a certificate is replaced at half its life") {
  World world;
  world.manager->hold(world.cart);
  const auto first = world.manager->current(world.cart);
  world.clock.advance(12 * kHour - kSecond);
  CHECK(world.manager->current(world.cart) == first);
  world.clock.advance(2 * kSecond);
  REQUIRE(world.changes.size() == 2);
  CHECK(world.changes[1] != first);
  CHECK(world.manager->current(world.cart) == world.changes[1]);
  world.clock.advance(24 * kHour);
  CHECK(world.changes.size() == 4);
}

TEST_CASE("jitter moves the renewal by a tenth at most, both ways") {
  const double random = GENERATE(0.0, 0.25, 0.999);
  World world;
  world.clock.random_value = random;
  world.manager->hold(world.cart);
  const std::int64_t half_s = 12 * 3'600;
  const std::int64_t after_s = world.status().rotates_at_s - kStartMs / kSecond;
  CHECK(after_s >= half_s * 9 / 10);
  CHECK(after_s <= half_s * 11 / 10);
  CHECK((after_s != half_s));
}

TEST_CASE("while renewal fails the old certificate serves until it expires, then there is none") {
  World world;
  world.manager->hold(world.cart);
  const auto first = world.manager->current(world.cart);
  world.source.error = "the CA is away";
  world.clock.advance(24 * kHour - kSecond);
  CHECK(world.manager->current(world.cart) == first);
  CHECK(world.status().state == CertificateStatus::State::Available);
  CHECK(world.status().error == "the CA is away");
  CHECK(world.changes.size() == 1);
  world.clock.advance(2 * kSecond);
  CHECK(world.manager->current(world.cart) == nullptr);
  REQUIRE(world.changes.size() == 2);
  CHECK(world.changes[1] == nullptr);
  CHECK(to_string(world.status()) == "unavailable: the CA is away");
  CHECK(world.status().serial_decimal.empty());

  world.source.error.clear();
  world.clock.advance(2 * static_cast<std::int64_t>(CertificateManager::kRetryMsMax));
  CHECK(world.manager->current(world.cart) != nullptr);
  CHECK(to_string(world.status()) == "available");
  CHECK(world.status().error.empty());
}

TEST_CASE("the same failure is reported once, another one again") {
  World world;
  world.source.error = "the disk is full";
  world.manager->hold(world.cart);
  CHECK(to_string(world.status()) == "unavailable: the disk is full");
  CHECK(world.changes.empty());
  world.clock.advance(kHour);
  CHECK(world.failures == std::vector<std::string>{"the disk is full"});
  world.source.error = "the disk is read-only";
  world.clock.advance(kHour);
  CHECK(world.failures.size() == 2);
}

TEST_CASE("pauses between attempts begin with half a second and double up to two and a half minutes") {
  World world;
  world.source.error = "no";
  world.manager->hold(world.cart);
  std::vector<int> requests;
  for (const std::int64_t pause_ms :
       {500, 1'000, 2'000, 4'000, 8'000, 16'000, 32'000, 64'000, 128'000, 150'000, 150'000}) {
    world.clock.advance(pause_ms - 1);
    requests.push_back(world.source.requests);
    world.clock.advance(1);
  }
  CHECK(requests == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
}

TEST_CASE("a pause is a fifth longer or shorter by chance") {
  const auto [random, pause_ms] = GENERATE(table<double, std::int64_t>({{0.0, 400}, {0.999, 599}}));
  World world;
  world.clock.random_value = random;
  world.source.error = "no";
  world.manager->hold(world.cart);
  world.clock.advance(pause_ms - 1);
  CHECK(world.source.requests == 1);
  world.clock.advance(2);
  CHECK(world.source.requests == 2);
}

TEST_CASE("after a success the pauses begin anew") {
  World world;
  world.source.error = "no";
  world.manager->hold(world.cart);
  world.clock.advance(kHour);
  world.source.error.clear();
  world.clock.advance(150 * kSecond);
  REQUIRE(world.manager->current(world.cart) != nullptr);
  world.source.error = "no";
  const int before = world.source.requests;
  world.clock.advance(world.status().rotates_at_s * kSecond - world.clock.wall_ms());
  while (world.source.requests == before && world.clock.wall_ms() / kSecond <= world.status().rotates_at_s)
    world.clock.advance(1);
  CHECK(world.source.requests == before + 1);
  world.clock.advance(kSecond / 2 - 1);
  CHECK(world.source.requests == before + 1);
  world.clock.advance(1);
  CHECK(world.source.requests == before + 2);
}

TEST_CASE("an answer that comes late is taken") {
  World world;
  world.source.is_slow = true;
  world.manager->hold(world.cart);
  CHECK(world.manager->current(world.cart) == nullptr);
  CHECK(world.manager->is_pending(world.cart));
  CHECK(to_string(world.status()) == "initializing");
  world.clock.advance(kHour);
  CHECK(world.source.requests == 1);
  world.source.answer_next();
  CHECK(world.manager->current(world.cart) != nullptr);
  CHECK_FALSE(world.manager->is_pending(world.cart));
}

TEST_CASE("an identity that is released and held again while its request is under way is not asked for twice") {
  World world;
  world.source.is_slow = true;
  world.manager->hold(world.cart);
  world.manager->release(world.cart);
  world.manager->hold(world.cart);
  CHECK(world.source.requests == 1);
  world.source.answer_next();
  CHECK(world.manager->current(world.cart) != nullptr);
  CHECK(world.changes.size() == 1);
}

TEST_CASE("an answer for an identity that was forgotten meanwhile leaves nothing behind") {
  World world;
  world.source.is_slow = true;
  world.manager->warm(world.cart);
  world.manager->forget(world.cart);
  world.source.answer_next();
  CHECK(world.changes.empty());
  CHECK(world.manager->certificates().empty());
  CHECK(world.clock.timers() == 0);
}

TEST_CASE("eight requests are under way at once, and the next one follows an answer") {
  World world;
  world.source.is_slow = true;
  for (int i = 0; i < 20; ++i) world.manager->hold(world.account(i));
  CHECK(world.source.requests == 8);
  world.source.answer_next();
  CHECK(world.source.requests == 9);
  while (!world.source.waiting.empty()) world.source.answer_next();
  CHECK(world.source.requests == 20);
  CHECK(world.changes.size() == 20);
}

TEST_CASE("a pod that waits comes before a warm-up, a warm-up before a renewal, each in order of arrival") {
  World world;
  world.manager->hold(world.account(0));
  world.source.is_slow = true;
  for (int i = 1; i <= 8; ++i) world.manager->hold(world.account(i));
  world.clock.advance(12 * kHour + kSecond);  // account 0 is due
  world.manager->warm(world.account(20));
  world.manager->warm(world.account(21));
  world.manager->hold(world.account(22));
  world.manager->hold(world.account(23));
  world.manager->hold(world.account(21));  // its pod has come
  world.source.asked.clear();
  while (!world.source.waiting.empty()) world.source.answer_next();
  CHECK(world.source.asked == std::vector<std::string>{"sa-22", "sa-23", "sa-21", "sa-20", "sa-0"});
}

TEST_CASE("an identity that is forgotten while it waits for its turn is never asked for") {
  World world;
  world.source.is_slow = true;
  for (int i = 0; i < 8; ++i) world.manager->hold(world.account(i));
  world.manager->warm(world.account(8));
  world.manager->hold(world.account(9));
  world.manager->forget(world.account(8));
  world.manager->release(world.account(9));
  while (!world.source.waiting.empty()) world.source.answer_next();
  CHECK(world.source.requests == 8);
}

TEST_CASE("a warmed identity has its certificate before its pod, and keeps it until neither is there") {
  World world;
  world.manager->warm(world.cart);
  world.manager->warm(world.cart);
  const auto first = world.manager->current(world.cart);
  REQUIRE(first != nullptr);
  world.manager->hold(world.cart);
  world.manager->forget(world.cart);
  CHECK(world.manager->current(world.cart) == first);
  world.manager->warm(world.cart);
  world.manager->release(world.cart);
  CHECK(world.manager->current(world.cart) == first);
  world.manager->forget(world.cart);
  CHECK(world.manager->certificates().empty());
  world.manager->forget(world.cart);
  CHECK(world.source.requests == 1);
}

TEST_CASE("while the first answer is to come a connection may wait, after a failure it may not") {
  World world;
  world.source.is_slow = true;
  CHECK_FALSE(world.manager->is_pending(world.cart));
  world.manager->hold(world.cart);
  CHECK(world.manager->is_pending(world.cart));
  world.source.error = "the CA refused";
  world.source.answer_next();
  CHECK_FALSE(world.manager->is_pending(world.cart));
  CHECK(world.failures.size() == 1);
}

TEST_CASE("an answer after the manager has gone touches nothing") {
  World world;
  world.source.is_slow = true;
  world.manager->hold(world.cart);
  world.manager.reset();
  CHECK(world.clock.timers() == 0);
  world.source.waiting[0].second(world.source.answer(world.cart));
  CHECK(world.changes.empty());
}

TEST_CASE("a certificate that comes expired is a failure, not a certificate") {
  World world;
  world.source.lifetime_s = -1;
  world.manager->hold(world.cart);
  CHECK(world.manager->current(world.cart) == nullptr);
  REQUIRE(world.failures.size() == 1);
  CHECK_THAT(world.failures[0], Catch::Contains("clock"));
}

TEST_CASE("a wall clock that jumps ahead is noticed within a minute") {
  World world;
  world.manager->hold(world.cart);
  world.clock.jump_wall(30 * kHour);
  CHECK(world.manager->current(world.cart) == nullptr);
  world.clock.advance(60 * kSecond);
  CHECK(world.manager->current(world.cart) != nullptr);
  CHECK(world.source.requests == 2);
}

TEST_CASE("a wall clock that jumps back before the certificate's beginning gets a new one") {
  World world;
  world.manager->hold(world.cart);
  world.clock.jump_wall(-30 * kHour);
  world.clock.advance(60 * kSecond);
  CHECK(world.source.requests == 2);
  REQUIRE(world.manager->current(world.cart) != nullptr);
  CHECK(world.manager->current(world.cart)->info().not_before_s * kSecond <= world.clock.wall_ms());
}

TEST_CASE("after a jump back, while the CA gives nothing, twenty identities ask no faster than their pauses") {
  World world;
  for (int i = 0; i < 20; ++i) world.manager->hold(World::account(i));
  world.source.error = "not valid yet";
  world.clock.jump_wall(-kHour);
  world.clock.advance(600 * kSecond);
  // Half a second, doubled up to 150 s, is twelve in ten minutes; the first look comes within one.
  CHECK(world.source.requests <= 20 + 20 * 13);
  CHECK(world.source.requests >= 20 + 20 * 10);
  world.source.error.clear();
  world.clock.advance(200 * kSecond);
  for (int i = 0; i < 20; ++i) CHECK(world.manager->current(World::account(i)) != nullptr);
}

TEST_CASE("a clock that goes a day ahead and back again costs each identity one request each way") {
  World world;
  for (int i = 0; i < 20; ++i) world.manager->hold(World::account(i));
  REQUIRE(world.source.requests == 20);
  for (const std::int64_t jump : {30 * kHour, -30 * kHour, 30 * kHour, -30 * kHour}) {
    const int before = world.source.requests;
    world.clock.jump_wall(jump);
    world.clock.advance(120 * kSecond);
    CHECK(world.source.requests == before + 20);
    for (int i = 0; i < 20; ++i) CHECK(world.manager->current(World::account(i)) != nullptr);
  }
}

TEST_CASE("a clock that is set a second at a time, as by a time service, renews nothing early") {
  World world;
  world.manager->hold(world.cart);
  for (int i = 0; i < 1'000; ++i) {
    world.clock.jump_wall(i % 2 == 0 ? kSecond : -kSecond);
    world.clock.advance(kSecond);
  }
  CHECK(world.source.requests == 1);
}

TEST_CASE("a pause after failures ends although the clock went back by a day meanwhile") {
  World world;
  world.source.error = "not today";
  world.manager->hold(world.cart);
  world.clock.advance(60 * kSecond);
  world.clock.jump_wall(-24 * kHour);
  const int before = world.source.requests;
  world.clock.advance(400 * kSecond);
  CHECK(world.source.requests >= before + 2);
  CHECK(world.source.requests <= before + 8);
}

TEST_CASE("two identities are renewed each at its own time") {
  World world;
  const SpiffeId pay = SpiffeId::make("cluster.local", "shop", "pay").value();
  world.manager->hold(world.cart);
  world.clock.advance(6 * kHour);
  world.manager->hold(pay);
  CHECK(world.manager->certificates().size() == 2);
  world.clock.advance(6 * kHour + kSecond);
  CHECK(world.source.requests == 3);
  world.clock.advance(6 * kHour);
  CHECK(world.source.requests == 4);
}

TEST_CASE("the embedded CA issues what the manager asks for") {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / fmt::format("culvert-ca-{}", ::getpid());
  std::filesystem::remove_all(directory);
  const auto ca = tls::EmbeddedCa::open_or_create(directory.string());
  REQUIRE(ca);
  EmbeddedCaSource source(**ca, 3'600'000);
  const SpiffeId cart = SpiffeId::make("cluster.local", "shop", "cart").value();
  std::shared_ptr<const tls::Credentials> issued;
  source.request(cart, [&issued](auto answer) { issued = std::move(answer).value(); });
  REQUIRE(issued != nullptr);
  CHECK(issued->identity() == cart);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace culvert::control
