/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Decision -> XDP verdict, each counted in exactly one of pass, drop, capture, redirect. */
#ifndef SLUICE_ACTIONS_H
#define SLUICE_ACTIONS_H

#include "maps.h"

/* The fates that need no help: pass and drop. Anything else is a table that user space should not have built: drop. */
static __always_inline int finish(__u32 fate, __u32 frame_bytes)
{
	if (fate == SLUICE_ACTION_PASS) {
		account(&interface_counters, SLUICE_COUNTER_PASS, frame_bytes);
		return XDP_PASS;
	}
	account(&interface_counters, SLUICE_COUNTER_DROP, frame_bytes);
	return XDP_DROP;
}

/* Rule and time in front of the packet. A driver without metadata refuses; the reader then finds no magic. */
static __always_inline void write_metadata(struct xdp_md *ctx, __u32 slot)
{
	struct sluice_metadata *metadata;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*metadata)))
		return;
	metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) > packet_data(ctx))
		return;
	metadata->magic = SLUICE_METADATA_MAGIC;
	metadata->slot = slot;
	metadata->timestamp = bpf_ktime_get_ns();
}

static __always_inline int capture(struct xdp_md *ctx, __u32 slot, __u32 fallback, __u32 frame_bytes)
{
	__u32 queue = ctx->rx_queue_index;

	if (!bpf_map_lookup_elem(&sockets, &queue)) {
		account(&interface_counters, SLUICE_COUNTER_CAPTURE_FALLBACK, frame_bytes);
		return finish(fallback, frame_bytes);
	}
	write_metadata(ctx, slot);
	account(&interface_counters, SLUICE_COUNTER_CAPTURE, frame_bytes);
	/* The socket may have been closed since the look-up: then the packet is dropped, and it stays counted here. */
	return bpf_redirect_map(&sockets, queue, XDP_DROP);
}

static __always_inline int redirect(__u32 ifindex, __u32 frame_bytes)
{
	int verdict = bpf_redirect_map(&devices, ifindex, XDP_DROP);

	if (verdict != XDP_REDIRECT) {
		account(&interface_counters, SLUICE_COUNTER_REDIRECT_FAILED, frame_bytes);
		return finish(SLUICE_ACTION_DROP, frame_bytes);
	}
	account(&interface_counters, SLUICE_COUNTER_REDIRECT, frame_bytes);
	return XDP_REDIRECT;
}

#endif
