// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Traffic generator: sends frames that user space has put into a map, in turn, out of one interface. It runs by
 * BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES (kernel 5.18), which gives it one fresh page a repetition.
 *
 * One run at a time: `state` is not shared between CPUs.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "include/sluice_abi.h"

#define FRAME_MIN 14

struct frame {
	__u32 length;
	__u8 bytes[SLUICE_GENERATOR_FRAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_GENERATOR_FRAMES_MAX); /* user space lowers it to what it needs */
	__type(key, __u32);
	__type(value, struct frame);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} output SEC(".maps");

const volatile struct sluice_generator_constants constants SEC(".rodata.sluice") = {};
struct sluice_generator_state state SEC(".data.sluice") = {};

SEC("xdp")
int sluice_generate(struct xdp_md *ctx)
{
	__u32 length;
	struct frame *f;

	if (ctx->ingress_ifindex != constants.marker_ifindex)
		return XDP_PASS;
	f = bpf_map_lookup_elem(&frames, &state.next);
	state.next = state.next + 1 < constants.frame_count ? state.next + 1 : 0;
	if (!f)
		goto fail;
	length = f->length;
	if (length < FRAME_MIN || length > SLUICE_GENERATOR_FRAME_BYTES)
		goto fail;
	if (bpf_xdp_adjust_tail(ctx, (int)length - (int)bpf_xdp_get_buff_len(ctx)))
		goto fail;
	if (bpf_xdp_store_bytes(ctx, 0, f->bytes, length))
		goto fail;
	state.redirected++;
	return bpf_redirect_map(&output, 0, XDP_DROP);
fail:
	state.failed++;
	return XDP_DROP;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
