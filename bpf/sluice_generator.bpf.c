// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Traffic generator: sends frames that user space has put into a map, in turn, out of one interface, as live frames.
 *
 * One run at a time: `state` is not shared between CPUs; each generator has a program of its own. It is attached only to a
 * device that never receives, for the dispatcher's sake.
 */
#include "live.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 2 * SLUICE_LIVE_SLACK); /* user space raises it to its frames and SLUICE_LIVE_SLACK */
} memory SEC(".maps");

/* Where each frame lies: address:32 | length:16. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_GENERATOR_FRAMES_MAX); /* user space lowers it to what it needs */
	__type(key, __u32);
	__type(value, __u64);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} output SEC(".maps");

const volatile struct sluice_generator_constants constants SEC(".rodata.sluice") = {};
struct sluice_generator_state state;

static __always_inline int stamp(struct xdp_md *ctx)
{
	struct sluice_stamp *s = (void *)(long)ctx->data + (constants.stamp_offset & 0xfff);

	if ((void *)(s + 1) > (void *)(long)ctx->data_end)
		return -1;
	s->magic = SLUICE_STAMP_MAGIC + constants.stream;
	s->sequence = state.sequence++;
	s->timestamp = bpf_ktime_get_ns();
	return 0;
}

SEC("xdp")
int sluice_generate(struct xdp_md *ctx)
{
	__u32 key = 0, length;
	__u64 address;
	const __u64 *descriptor = bpf_map_lookup_elem(&frames, &state.next);
	const void *start = bpf_map_lookup_elem(&memory, &key);

	state.next = state.next + 1 < constants.frame_count ? state.next + 1 : 0;
	if (!descriptor || !start)
		goto fail;
	address = *descriptor & 0xffffffff;
	length = *descriptor >> 32 & 0xffff;
	if (address >= constants.byte_count || length < FRAME_MIN || length > SLUICE_LIVE_FRAME_BYTES ||
	    build(ctx, start + address, length))
		goto fail;
	if (constants.has_stamp && stamp(ctx))
		goto fail;
	state.redirected++;
	return bpf_redirect_map(&output, 0, XDP_DROP);
fail:
	state.failed++;
	return XDP_DROP;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
