/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What every part of the program needs: kernel types, helpers, and the constants that user space sets before load. */
#ifndef SLUICE_PROGRAM_H
#define SLUICE_PROGRAM_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "include/sluice_abi.h"

const volatile struct sluice_constants constants SEC(".rodata.sluice") = {};

/* Whether the program was loaded to read this; what it wasn't costs nothing. */
static __always_inline _Bool reads(__u32 features) { return constants.features & features; }

/* struct xdp_md gives packet pointers as 32-bit values; the verifier turns them into pointers of the full width. */
static __always_inline void *packet_data(const struct xdp_md *ctx) { return (void *)(long)ctx->data; }
static __always_inline void *packet_end(const struct xdp_md *ctx) { return (void *)(long)ctx->data_end; }

/* Length of the frame, fragments included. */
static __always_inline __u32 frame_length(struct xdp_md *ctx)
{
	if (constants.has_frags)
		return bpf_xdp_get_buff_len(ctx);
	return packet_end(ctx) - packet_data(ctx);
}

#endif
