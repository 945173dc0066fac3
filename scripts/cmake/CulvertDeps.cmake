# SPDX-License-Identifier: Apache-2.0
# Third-party libraries, each found once and wrapped as a SYSTEM target culvert::ext::NAME.
include_guard()
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(culvert_pkg name module)
  pkg_check_modules(CVPKG_${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  add_library(culvert_ext_${name} INTERFACE)
  target_link_libraries(culvert_ext_${name} INTERFACE PkgConfig::CVPKG_${name})
  add_library(culvert::ext::${name} ALIAS culvert_ext_${name})
endfunction()

# culvert_lib(NAME library): a package without a pkg-config file; headers are in the default path.
function(culvert_lib name library)
  find_library(CVLIB_${name} NAMES ${library} REQUIRED)
  add_library(culvert_ext_${name} INTERFACE)
  target_link_libraries(culvert_ext_${name} INTERFACE ${CVLIB_${name}})
  add_library(culvert::ext::${name} ALIAS culvert_ext_${name})
endfunction()

culvert_pkg(openssl openssl)
culvert_pkg(libbpf libbpf)
culvert_pkg(fmt fmt)
culvert_pkg(yaml yaml-cpp)
culvert_pkg(json nlohmann_json)
culvert_pkg(curl libcurl)
culvert_pkg(capng libcap-ng)
culvert_pkg(seccomp libseccomp)
culvert_pkg(cli11 CLI11)
culvert_lib(prometheus prometheus-cpp-core)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64")
  culvert_lib(ipsec_mb IPSec_MB)
endif()
