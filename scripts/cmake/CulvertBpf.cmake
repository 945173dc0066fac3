# SPDX-License-Identifier: Apache-2.0
# culvert_bpf_object(NAME SOURCES a.bpf.c ...): compiles each hook, links them into one object and makes a
# skeleton header NAME.skel.h; link with culvert::skel::NAME to include it. Nothing depends on the build host's kernel, and
# nothing is relocated to the running one's: docs/decisions/025-no-vmlinux-header.md.
include_guard()
find_program(CULVERT_BPF_CLANG NAMES clang-19 clang REQUIRED)
find_program(CULVERT_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)
# Where asm/types.h is; not asked of the compiler, because clang names its target otherwise.
set(CULVERT_MULTIARCH ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64")
  set(CULVERT_BPF_ARCH arm64)
else()
  set(CULVERT_BPF_ARCH x86)
endif()

function(culvert_bpf_object name)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  set(objects)
  foreach(source IN LISTS ARG_SOURCES)
    get_filename_component(stem "${source}" NAME_WE)
    get_filename_component(absolute "${source}" ABSOLUTE)
    set(object "${CMAKE_CURRENT_BINARY_DIR}/${stem}.bpf.o")
    add_custom_command(OUTPUT "${object}"
      COMMAND ${CULVERT_BPF_CLANG} -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter
        -D__TARGET_ARCH_${CULVERT_BPF_ARCH} -I${CMAKE_SOURCE_DIR}/include -I${CMAKE_SOURCE_DIR}/bpf
        -isystem /usr/include/${CULVERT_MULTIARCH} -MD -MF "${object}.d" -c "${absolute}" -o "${object}"
      DEPENDS "${absolute}" DEPFILE "${object}.d" COMMENT "BPF ${stem}" VERBATIM)
    list(APPEND objects "${object}")
  endforeach()
  set(linked "${CMAKE_CURRENT_BINARY_DIR}/${name}.linked.o")
  set(skeleton "${CMAKE_CURRENT_BINARY_DIR}/skel/${name}.skel.h")
  file(MAKE_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/skel")
  add_custom_command(OUTPUT "${linked}" COMMAND ${CULVERT_BPFTOOL} gen object "${linked}" ${objects}
    DEPENDS ${objects} COMMENT "BPF link ${name}" VERBATIM)
  add_custom_command(OUTPUT "${skeleton}"
    COMMAND ${CULVERT_BPFTOOL} gen skeleton "${linked}" name ${name} > "${skeleton}"
    DEPENDS "${linked}" COMMENT "BPF skeleton ${name}" VERBATIM)
  add_custom_target(culvert_skel_${name}_files DEPENDS "${skeleton}")
  add_library(culvert_skel_${name} INTERFACE)
  add_dependencies(culvert_skel_${name} culvert_skel_${name}_files)
  target_include_directories(culvert_skel_${name} SYSTEM INTERFACE "${CMAKE_CURRENT_BINARY_DIR}/skel")
  add_library(culvert::skel::${name} ALIAS culvert_skel_${name})
endfunction()
