// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Classifies packets that lie in memory, many in one run: how long a packet takes, and what becomes of it, by the code that
 * decides about packets of interfaces. For measurements; needs bpf_loop (Linux 5.17).
 */
#include "classify.h"
#include "parse.h"

struct sample {
	struct sluice_sample head;
	struct packet packet;
} __attribute__((aligned(SLUICE_SAMPLE_BYTES)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SLUICE_SAMPLES_MAX);
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_probe);
} probe SEC(".maps");

static __always_inline struct sample *sample_at(__u32 index)
{
	index &= SLUICE_SAMPLES_MAX - 1;
	return bpf_map_lookup_elem(&samples, &index);
}

/* Parses the frame and puts it into sample `first`. */
SEC("xdp")
int sluice_record(struct xdp_md *ctx)
{
	__u32 key = 0;
	const struct sluice_probe *plan = bpf_map_lookup_elem(&probe, &key);
	struct packet p = {};
	struct sample *s;

	if (!plan)
		return XDP_ABORTED;
	s = sample_at(plan->first);
	if (!s)
		return XDP_ABORTED;
	s->head = (struct sluice_sample){ .frame_bytes = frame_length(ctx) };
	s->head.malformed = parse(ctx, &p, s->head.frame_bytes);
	s->packet = p;
	return XDP_PASS;
}

static long classify_one(__u32 i, const struct sluice_probe *plan)
{
	struct sample *s = sample_at(plan->first + (i & plan->mask));
	const void *tables = tables_begin();
	struct verdict v = {};
	struct walk w;

	if (!s || !tables)
		return 1;
	if (!plan->is_empty && s->head.malformed == SLUICE_MALFORMED_NONE) {
		if (constants.zeroes_stack)
			__builtin_memset(&w, 0, sizeof(w));
		v = classify(&w, tables, *(const volatile __u64 *)tables, &s->packet, s->head.frame_bytes);
		account(&rule_counters, v.slot, s->head.frame_bytes);
	}
	s->head.action = v.action;
	s->head.slot = v.slot;
	return 0;
}

SEC("xdp")
int sluice_probe(struct xdp_md *ctx __attribute__((unused)))
{
	__u32 key = 0;
	struct sluice_probe *stored = bpf_map_lookup_elem(&probe, &key);
	struct sluice_probe plan;

	if (!stored)
		return XDP_ABORTED;
	plan = *stored;
	bpf_loop(plan.count, classify_one, &plan, 0);
	return XDP_PASS;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
