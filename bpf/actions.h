/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Decision -> XDP verdict, each counted in exactly one of pass, drop, capture, redirect, forward. */
#ifndef SLUICE_ACTIONS_H
#define SLUICE_ACTIONS_H

#include "maps.h"

/* To the stack, or nowhere. */
static __always_inline int end(__u32 fate, __u32 frame_bytes)
{
	account(&interface_counters, fate, frame_bytes);
	return fate == SLUICE_COUNTER_PASS ? XDP_PASS : XDP_DROP;
}

/* In front of the packet. A driver without metadata refuses; the reader then finds no magic. */
static __always_inline void write_metadata(struct xdp_md *ctx, __u32 magic, __u32 slot, __u64 timestamp)
{
	struct sluice_metadata *metadata;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*metadata)))
		return;
	metadata = (void *)(long)ctx->data_meta;
	if ((void *)(metadata + 1) > packet_data(ctx))
		return;
	metadata->magic = magic;
	metadata->slot = slot;
	metadata->timestamp = timestamp;
}

/* The verdict on packets that go to the queue's socket, or to what takes them in its place. No XDP action has the number. */
#define TO_SOCKET 64

/* Whether the packet goes to the queue's socket; TO_SOCKET is then the verdict. Metadata only where it does. */
static __always_inline _Bool select_socket(const struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS) == XDP_REDIRECT;
}

static __always_inline int redirect(__u32 ifindex, __u32 fate, __u32 failure, __u32 frame_bytes)
{
	if (bpf_redirect_map(&devices, ifindex, XDP_DROP) != XDP_REDIRECT) {
		account(&interface_counters, failure, frame_bytes);
		return end(SLUICE_COUNTER_DROP, frame_bytes);
	}
	account(&interface_counters, fate, frame_bytes);
	return XDP_REDIRECT;
}

/* What the rules pass goes along the interface's path. */
static __always_inline int follow_path(struct xdp_md *ctx, __u32 slot, __u32 frame_bytes)
{
	__u32 key = 0;
	const struct sluice_path *p = bpf_map_lookup_elem(&path, &key);
	struct sluice_path now = {};

	if (p)
		*(__u64 *)&now = *(const volatile __u64 *)p; /* both fields at once */
	if (now.kind == SLUICE_PATH_USER) {
		if (select_socket(ctx)) {
			write_metadata(ctx, SLUICE_METADATA_FORWARD, slot, 0);
			account(&interface_counters, SLUICE_COUNTER_FORWARD, frame_bytes);
			return TO_SOCKET;
		}
		account(&interface_counters, SLUICE_COUNTER_FORWARD_FALLBACK, frame_bytes);
		if (now.peer_ifindex)
			now.kind = SLUICE_PATH_FORWARD;
	}
	if (now.kind == SLUICE_PATH_FORWARD)
		return redirect(now.peer_ifindex, SLUICE_COUNTER_FORWARD, SLUICE_COUNTER_FORWARD_FAILED, frame_bytes);
	return end(SLUICE_COUNTER_PASS, frame_bytes);
}

/*
 * Does what the rules say: an XDP action, or TO_SOCKET. `argument` is the target interface of SLUICE_ACTION_REDIRECT, and of SLUICE_ACTION_CAPTURE what
 * to do where no socket takes the packet.
 *
 * A global function, so that the verifier checks it once and not for each way through parser and classifier.
 */
__noinline int act(struct xdp_md *ctx, __u32 action, __u32 slot, __u32 argument, __u32 frame_bytes)
{
	if (action == SLUICE_ACTION_REDIRECT)
		return redirect(argument, SLUICE_COUNTER_REDIRECT, SLUICE_COUNTER_REDIRECT_FAILED, frame_bytes);
	if (action == SLUICE_ACTION_CAPTURE) {
		if (select_socket(ctx)) {
			write_metadata(ctx, SLUICE_METADATA_MAGIC, slot, bpf_ktime_get_ns());
			account(&interface_counters, SLUICE_COUNTER_CAPTURE, frame_bytes);
			return TO_SOCKET;
		}
		account(&interface_counters, SLUICE_COUNTER_CAPTURE_FALLBACK, frame_bytes);
		action = argument;
	}
	if (action == SLUICE_ACTION_PASS)
		return follow_path(ctx, slot, frame_bytes);
	/* Drop; anything else is a table that user space should not have built. */
	return end(SLUICE_COUNTER_DROP, frame_bytes);
}

#endif
