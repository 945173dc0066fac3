# SPDX-License-Identifier: Apache-2.0
# Compiler flags in one INTERFACE target, and the two functions that declare a module and a program.
include_guard()

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_C_STANDARD 17)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(CULVERT_CCACHE ccache)
if(CULVERT_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER "${CULVERT_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CULVERT_CCACHE}")
  if(CULVERT_PCH)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${CULVERT_CCACHE}")
  endif()
endif()

add_library(culvert_flags INTERFACE)
add_library(culvert::flags ALIAS culvert_flags)
target_include_directories(culvert_flags INTERFACE "${CMAKE_SOURCE_DIR}/include" "${CMAKE_SOURCE_DIR}/userspace")
target_compile_options(culvert_flags INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wconversion -Wsign-conversion
  $<$<COMPILE_LANGUAGE:CXX>:-Wold-style-cast -Wnon-virtual-dtor>
  -fno-omit-frame-pointer -fstack-protector-strong)
target_compile_definitions(culvert_flags INTERFACE _GNU_SOURCE
  CULVERT_VERSION="${PROJECT_VERSION}${CULVERT_VERSION_SUFFIX}")
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # libstdc++ 12 hides std::expected from clang unless it claims the newer concepts.
  target_compile_options(culvert_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-builtin-macro-redefined>
    $<$<COMPILE_LANGUAGE:CXX>:-D__cpp_concepts=202002L>)
endif()
if(CULVERT_SANITIZE)
  target_compile_options(culvert_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all)
  target_link_options(culvert_flags INTERFACE -fsanitize=address,undefined)
else()
  target_compile_definitions(culvert_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
  target_link_options(culvert_flags INTERFACE -Wl,-z,relro,-z,now)
endif()
if(CULVERT_FUZZ)
  target_compile_options(culvert_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined)
  target_link_options(culvert_flags INTERFACE -fsanitize=address,undefined)
endif()

# Precompiled headers of libraries, for presets whose compiler time is mostly theirs. `release` has none: there every source
# of the programs includes what it uses, or does not compile.
set(CULVERT_PCH_HEADERS <algorithm> <array> <cstdint> <expected> <functional> <map> <memory> <optional> <span> <string> <string_view>
  <unordered_map> <utility> <vector> <fmt/format.h>)

# culvert_pch(NAME HEADERS ... [FLAGS ...]): a target that others take theirs from.
function(culvert_pch name)
  cmake_parse_arguments(ARG "" "" "HEADERS;FLAGS" ${ARGN})
  set(source "${CMAKE_BINARY_DIR}/${name}.cpp")
  file(GENERATE OUTPUT "${source}" CONTENT "")
  add_library(${name} OBJECT "${source}")
  target_link_libraries(${name} PRIVATE culvert::flags)
  # Without the time in it, a compiler cache knows what was compiled with it.
  target_compile_options(${name} PRIVATE ${ARG_FLAGS} "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
endfunction()
if(CULVERT_PCH)
  culvert_pch(culvert_pch_module HEADERS ${CULVERT_PCH_HEADERS})
endif()

# culvert_module(NAME SOURCES a.cpp ... [DEPS targets ...] [PRIVATE_DEPS targets ...])
# One static library culvert_NAME (alias culvert::NAME) with its headers beside its sources.
function(culvert_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(culvert_${name} STATIC ${ARG_SOURCES})
  add_library(culvert::${name} ALIAS culvert_${name})
  target_link_libraries(culvert_${name} PUBLIC culvert::flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  if(CULVERT_PCH)
    target_precompile_headers(culvert_${name} REUSE_FROM culvert_pch_module)
  endif()
endfunction()

# culvert_program(NAME SOURCES ... DEPS ...): a binary in build/<preset>/bin.
function(culvert_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE culvert::flags ${ARG_DEPS})
endfunction()
