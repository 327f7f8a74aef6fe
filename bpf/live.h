/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Live frames: BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (kernel 5.18) runs a program once for each frame on a fresh
 * page; here it is filled from memory that is shared with user space and sent out of a device.
 *
 * The memory is one map value, so that frames may lie anywhere in it. It ends with slack: a copy of fixed size may read
 * behind the last frame, and the verifier needs no relation between a frame's place and its length.
 */
#ifndef SLUICE_LIVE_H
#define SLUICE_LIVE_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "copy.h"
#include "include/sluice_abi.h"

/* Shortest frame: an Ethernet header. */
#define FRAME_MIN 14

/* A frame of 32 to 64 bytes: the first 32 and the last, which overlap. The helper's call and checks cost as much again. */
static __always_inline int copy_short(struct xdp_md *ctx, const void *from, __u32 length)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 tail = length - 32;

	/* Or the compiler adds the length and takes 32 away again, which leads the verifier's pointer out of the packet. */
	asm volatile("" : "+r"(tail));
	if (data + 32 > end || data + tail + 32 > end)
		return -1;
	copy_32(data, from);
	copy_32(data + tail, from + tail);
	return 0;
}

/* The `length` bytes at `from` become the frame. Negative where they don't fit in a page. */
static __always_inline int build(struct xdp_md *ctx, const void *from, __u32 length)
{
	__u32 current = (void *)(long)ctx->data_end - (void *)(long)ctx->data;

	if (current != length && bpf_xdp_adjust_tail(ctx, (int)length - (int)current))
		return -1;
	if (length >= 32 && length <= 64)
		return copy_short(ctx, from, length);
	return bpf_xdp_store_bytes(ctx, 0, (void *)from, length);
}

#endif
