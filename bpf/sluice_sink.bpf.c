// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Traffic sink: counts what an interface receives, and measures latency, loss and order by the generator's stamps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "include/sluice_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_sink_counters);
} counters SEC(".maps");

/* Nanoseconds by bucket. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_LATENCY_BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} latencies SEC(".maps");

/*
 * Not by CPU: a stream of one sending CPU comes through one receive queue, but where several CPUs fill that queue, now one
 * of them empties it, now another; never two at a time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_STREAMS_MAX);
	__type(key, __u32);
	__type(value, struct sluice_stream);
} streams SEC(".maps");

const volatile struct sluice_sink_constants constants SEC(".rodata.sluice") = {};

/* The place of the highest bit of a number that isn't 0. BPF has no instruction for it. */
static __always_inline __u32 highest_bit(__u64 value)
{
	__u32 place = 0;

	for (__u32 step = 32; step; step >>= 1) {
		if (value >> step) {
			value >>= step;
			place += step;
		}
	}
	return place;
}

/* 32 buckets to each doubling, values below 64 exactly: Traffic.LatencyHistogram says the same. */
static __always_inline __u32 bucket(__u64 value)
{
	__u32 shift;

	if (value < 32)
		return value;
	shift = highest_bit(value) - 5;
	return 32 * shift + (value >> shift);
}

static __always_inline void follow(__u32 number, __u32 sequence)
{
	struct sluice_stream *stream = bpf_map_lookup_elem(&streams, &number);

	if (!stream)
		return;
	if (stream->is_known) {
		__s32 ahead = sequence - stream->next_sequence;

		if (ahead > 0)
			stream->missing += ahead;
		if (ahead < 0) { /* late, and was counted missing */
			stream->late++;
			return;
		}
	}
	stream->is_known = 1;
	stream->next_sequence = sequence + 1;
}

/* Whether the frame is a generator's. */
static __always_inline int measure(const struct xdp_md *ctx, struct sluice_sink_counters *c)
{
	const struct sluice_stamp *s = (void *)(long)ctx->data + (constants.stamp_offset & 0xfff);
	__u64 latency, *count;
	__u32 key;

	if ((void *)(s + 1) > (void *)(long)ctx->data_end || s->magic - SLUICE_STAMP_MAGIC >= SLUICE_STREAMS_MAX) {
		c->foreign++;
		return 0;
	}
	latency = bpf_ktime_get_ns() - s->timestamp;
	key = bucket(latency);
	count = bpf_map_lookup_elem(&latencies, &key);
	if (count)
		(*count)++;
	c->latency_sum += latency;
	if (!c->stamped || latency < c->latency_least)
		c->latency_least = latency;
	if (latency > c->latency_greatest)
		c->latency_greatest = latency;
	c->stamped++;
	follow(s->magic - SLUICE_STAMP_MAGIC, s->sequence);
	return 1;
}

SEC("xdp")
int sluice_sink(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct sluice_sink_counters *c = bpf_map_lookup_elem(&counters, &key);

	if (c && (!constants.has_stamp || measure(ctx, c))) {
		c->packets++;
		c->bytes += bpf_xdp_get_buff_len(ctx);
	}
	return constants.passes ? XDP_PASS : XDP_DROP;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
