/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Copies between packets and memory that is shared with user space. */
#ifndef SLUICE_COPY_H
#define SLUICE_COPY_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* 32 bytes by registers. Word by word: memcpy() of the compiler takes bytes where it knows of no alignment. */
static __always_inline void copy_32(void *to, const void *from)
{
	__u64 a = ((const volatile __u64 *)from)[0], b = ((const volatile __u64 *)from)[1],
	      c = ((const volatile __u64 *)from)[2], d = ((const volatile __u64 *)from)[3];

	((volatile __u64 *)to)[0] = a;
	((volatile __u64 *)to)[1] = b;
	((volatile __u64 *)to)[2] = c;
	((volatile __u64 *)to)[3] = d;
}

#endif
