// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "culvert/cni/mesh_file.hpp"

using namespace culvert::cni;

TEST_CASE("the mesh file survives encoding and decoding") {
  const MeshFile file{true, {"shop", "bank"}, {"kube-system"}, {"lab/one"}};
  const auto decoded = decode_mesh_file(encode(file));
  REQUIRE(decoded);
  CHECK(*decoded == file);
}

TEST_CASE("a mesh file that is cut, empty or of another version is refused") {
  for (const char* text :
       {"", "{", "[]", R"({"version":2,"all":true,"namespaces":[],"excluded_namespaces":[],"pods":[]})",
        R"({"version":1,"all":true,"namespaces":[]})",
        R"({"version":1,"all":1,"namespaces":[],"excluded_namespaces":[],"pods":[]})"}) {
    CAPTURE(text);
    CHECK_FALSE(decode_mesh_file(text));
  }
}

TEST_CASE("the mesh file says outside only for certain") {
  struct Case {
    MeshFile file;
    const char* namespace_name;
    const char* name;
    Membership expected;
  };
  const MeshFile some{false, {"shop"}, {"kube-system"}, {"lab/one"}};
  const MeshFile every{true, {}, {"kube-system"}, {}};
  const Case cases[] = {
      {MeshFile{}, "shop", "a", Membership::Outside},  // an agent that takes nothing
      {MeshFile{}, "", "", Membership::Outside},
      {some, "shop", "a", Membership::Inside},
      {some, "lab", "one", Membership::Inside},
      {some, "lab", "two", Membership::Outside},
      {some, "bank", "a", Membership::Outside},
      {some, "", "", Membership::Unknown},  // a pod that nobody has named may be any
      {every, "shop", "a", Membership::Inside},
      {every, "kube-system", "a", Membership::Outside},
      {every, "", "", Membership::Unknown},
      {MeshFile{true, {}, {}, {}}, "", "", Membership::Inside},
  };
  for (const Case& item : cases) {
    CAPTURE(item.namespace_name, item.name);
    CHECK(item.file.membership(item.namespace_name, item.name) == item.expected);
  }
}

TEST_CASE("an excluded namespace wins over a listed one") {
  const MeshFile file{true, {"shop"}, {"shop"}, {"shop/a"}};
  CHECK(file.membership("shop", "a") == Membership::Outside);
}

TEST_CASE("the mesh file stands beside the socket") {
  CHECK(mesh_file_path("/run/culvert/cni.sock") == "/run/culvert/mesh.json");
  CHECK(mesh_file_path("cni.sock") == "mesh.json");
}
