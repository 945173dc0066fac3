/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every program includes first: the UAPI types, libbpf's helpers, and the few constants whose headers do not compile
 * for BPF. Kernel structures are not read anywhere, only UAPI contexts, so there is no vmlinux header and no relocation
 * that a kernel could refuse.
 */
#ifndef CULVERT_BPF_H
#define CULVERT_BPF_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CV_AF_INET 2
#define CV_AF_INET6 10
#define CV_SOCK_STREAM 1
#define CV_SOCK_DGRAM 2
#define CV_SOL_SOCKET 1
#define CV_SO_MARK 36

/*
 * A context field read in one branch only. Without it clang merges the reads of both branches into one through a computed
 * pointer, and the verifier refuses "dereference of modified ctx ptr".
 */
static __always_inline __u32 cv_keep_apart(__u32 value) {
  asm volatile("" : "+r"(value));
  return value;
}

#endif
