// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Decides about every packet of one interface by its live generation. Parsing, classification and actions are in
 * their own files; this is the way through them.
 */
#include "actions.h"
#include "classify.h"
#include "parse.h"

static __always_inline void record(const struct verdict *v, __u32 malformed, __u64 generation)
{
	__u32 key = 0;
	struct sluice_decision *d = bpf_map_lookup_elem(&decision, &key);

	if (d)
		*d = (struct sluice_decision){ .action = v->action, .slot = v->slot, .malformed = malformed,
					       .generation = generation };
}

SEC("xdp")
int sluice_xdp(struct xdp_md *ctx)
{
	__u32 frame_bytes = frame_length(ctx);
	const struct sluice_generation *g;
	struct verdict v = { .slot = SLUICE_SLOT_DEFAULT };
	const void *tables;
	struct walk w;
	__u64 origin;
	int malformed, verdict;

	tables = tables_begin();
	origin = tables ? *(const volatile __u64 *)tables : 0; /* once: the packet sees one generation */
	if (!origin) {
		account(&interface_counters, SLUICE_COUNTER_NO_GENERATION, frame_bytes);
		return end(SLUICE_COUNTER_PASS, frame_bytes);
	}
	g = generation_in(half_of(tables, origin));

	if (constants.zeroes_stack)
		__builtin_memset(&w, 0, sizeof(w));
	w.packet = (struct packet){};
	malformed = parse(ctx, &w.packet, frame_bytes);
	if (malformed != SLUICE_MALFORMED_NONE) {
		v.action = g->malformed_action[malformed & 15];
		account(&interface_counters, SLUICE_COUNTER_MALFORMED + (malformed & 15), frame_bytes);
	} else {
		v = classify(&w, tables, origin, &w.packet, frame_bytes);
		if (v.is_broken)
			account(&interface_counters, SLUICE_COUNTER_BROKEN_WALK, frame_bytes);
		else
			account(&rule_counters, v.slot, frame_bytes);
	}
	if (constants.record_decisions)
		record(&v, malformed, g->generation);
	verdict = act(ctx, v.action, v.slot, v.action == SLUICE_ACTION_CAPTURE ? g->capture_fallback : v.redirect_ifindex,
		      frame_bytes);
	if (verdict != TO_SOCKET)
		return verdict;
	if (constants.has_receivers) {
		/* The kernel makes a call to a known place a direct jump, without a retpoline. */
		if (!ctx->rx_queue_index)
			bpf_tail_call_static(ctx, &receivers, 0);
		bpf_tail_call(ctx, &receivers, ctx->rx_queue_index);
	}
	return XDP_REDIRECT; /* no receiver: as select_socket() has prepared */
}

char program_license[] SEC("license") = "Dual BSD/GPL";
