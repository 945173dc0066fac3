// SPDX-License-Identifier: Apache-2.0
// culvertctl: what a person types. Reads the command line and calls the command. Exit codes: 0 done; 1 refused, failed, or
// something required is missing; 2 the command line is wrong; 3 no agent answers.
#include <cstdio>
#include <exception>
#include <functional>

#include <unistd.h>
#include <CLI/CLI.hpp>

#include "ctl/commands.hpp"

namespace {

using namespace culvert::ctl;

int run(int argc, char** argv) {
  CLI::App app{"culvertctl: look at and steer the Culvert agent of this node", "culvertctl"};
  CommonOptions common;
  common.terminal = inspect_terminal(STDOUT_FILENO);
  app.set_version_flag("--version", std::string("culvertctl ") + CULVERT_VERSION);
  app.add_option("--socket", common.socket_path, "the agent's admin socket")->type_name("PATH")->capture_default_str();
  app.add_flag("--json", common.as_json, "print JSON, for scripts");
  app.fallthrough();
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 refused, failed or something required is missing; 2 wrong usage; 3 no agent answers.");

  std::function<int()> command;
  const auto add = [&](const char* name, const char* text, std::function<int()> action) {
    CLI::App* sub = app.add_subcommand(name, text);
    sub->callback([&command, action = std::move(action)] { command = action; });
    return sub;
  };

  add("status", "the agent: state, mesh, capture, engines", [&] { return run_status(common); });
  add("pods", "the pods of this node that are in the mesh", [&] { return run_pods(common); });
  add("workloads", "what the mesh knows, by address", [&] { return run_workloads(common); });
  add("services", "the services of the mesh: addresses, ports, endpoints, waypoint",
      [&] { return run_services(common); });
  add("certificates", "the workloads' certificates and when they end", [&] { return run_certificates(common); });

  std::string pod_filter;
  bool watches = false;
  CLI::App* connections = add("connections", "the live connections, with identities, cipher and record engines",
                              [&] { return run_connections(common, pod_filter, watches); });
  connections->add_option("--pod", pod_filter, "only this pod's: its id, NAME or NAMESPACE/NAME")->type_name("POD");
  connections->add_flag("--watch,-w", watches, "again every second, until Ctrl-C");

  std::string explain_source;
  std::string explain_destination;
  CLI::App* explaining = add("explain", "what would happen to a connection, step by step, and what decides each step",
                             [&] { return run_explain(common, explain_source, explain_destination); });
  explaining->add_option("SRC", explain_source, "a pod's id, NAMESPACE/NAME, a workload's uid, or an address")
      ->required();
  explaining->add_option("DST", explain_destination, "ADDRESS:PORT or HOSTNAME:PORT")->required();

  bool shows_zeros = false;
  CLI::App* drops = add("drops", "what the capture programs decided and dropped, by pod",
                        [&] { return run_drops(common, shows_zeros); });
  drops->add_flag("--all,-a", shows_zeros, "also the counters that are zero");

  add("preflight", "what this kernel and machine can do, and what to do about the rest (needs no agent)",
      [&] { return run_preflight(common); });

  JoinOptions join;
  CLI::App* joining =
      add("join", "take a running network namespace into the mesh", [&] { return run_join(common, join); });
  joining->add_option("NETNS", join.netns, "path of the namespace, or its name below /run/netns")->required();
  joining->add_option("--id", join.id, "how the pod is called from now on; default: the last part of the path");
  joining->add_option("--name", join.name, "the pod's name; default: its id");
  joining->add_option("--namespace,-n", join.namespace_name, "the pod's namespace; default: default");
  joining->add_option("--service-account", join.service_account, "the pod's service account; default: default");
  joining
      ->add_option("--address", join.addresses, "an address of the pod, may be repeated; default: those of its devices")
      ->type_name("IP");
  joining->add_option("--answer-syn", join.answer_syn, "when its connections' SYNs are answered; default: as the node")
      ->check(CLI::IsMember({"at_once", "after_connect"}));

  std::string leaving;
  add("leave", "take a pod out of the mesh; its live connections end by themselves",
      [&] { return run_leave(common, leaving); })
      ->add_option("POD", leaving, "the pod's id, or its network namespace")
      ->required();

  add("config-dump", "the agent's state as `istioctl ztunnel-config ... -f FILE` reads it",
      [&] { return run_config_dump(common); });

  std::string level;
  add("log", "set the agent's log level until it restarts", [&] { return run_log_level(common, level); })
      ->add_option("LEVEL", level, "debug, info, warn or error")
      ->required();

  add("version", "the versions of culvertctl and of the agent", [&] { return run_version(common); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  const int code = command();
  return is_output_whole() ? code : kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "culvertctl: %s\n", error.what());
    return culvert::ctl::kExitFailed;
  }
}
