// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Decides about every packet of one interface by its live generation. Parsing, classification and actions are in
 * their own files; this is the way through them.
 */
#include "actions.h"
#include "classify.h"
#include "parse.h"

static __always_inline void record(__u32 action, __u32 slot, __u32 malformed, __u64 generation)
{
	__u32 key = 0;
	struct sluice_decision *d = bpf_map_lookup_elem(&decision, &key);

	if (d)
		*d = (struct sluice_decision){ .action = action, .slot = slot, .malformed = malformed,
					       .generation = generation };
}

SEC("xdp")
int sluice_xdp(struct xdp_md *ctx)
{
	__u32 frame_bytes = frame_length(ctx), key = 0, action, slot = SLUICE_SLOT_DEFAULT, index;
	const struct sluice_generation *g;
	const struct sluice_entry *e;
	struct packet p = {};
	int malformed;
	void *map;

	map = bpf_map_lookup_elem(&generations, &key);
	g = map ? bpf_map_lookup_elem(map, &key) : 0;
	if (!g) {
		account(&interface_counters, SLUICE_COUNTER_NO_GENERATION, frame_bytes);
		return finish(SLUICE_ACTION_PASS, frame_bytes);
	}

	malformed = parse(ctx, &p, frame_bytes);
	if (malformed != SLUICE_MALFORMED_NONE) {
		action = g->malformed_action[malformed & 15];
		if (constants.record_decisions)
			record(action, slot, malformed, g->generation);
		account(&interface_counters, SLUICE_COUNTER_MALFORMED + (malformed & 15), frame_bytes);
		return finish(action, frame_bytes);
	}

	index = classify(g, &p, frame_bytes);
	if (index >= SLUICE_ENTRIES_MAX) {
		action = g->default_action;
		if (constants.record_decisions)
			record(action, slot, malformed, g->generation);
		account(&rule_counters, SLUICE_SLOT_DEFAULT, frame_bytes);
		return finish(action, frame_bytes);
	}

	e = &g->entries[index];
	action = e->action;
	slot = e->slot;
	if (constants.record_decisions)
		record(action, slot, malformed, g->generation);
	account(&rule_counters, slot, frame_bytes);
	if (action == SLUICE_ACTION_CAPTURE)
		return capture(ctx, slot, g->capture_fallback, frame_bytes);
	if (action == SLUICE_ACTION_REDIRECT)
		return redirect(e->redirect_ifindex, frame_bytes);
	return finish(action, frame_bytes);
}

char program_license[] SEC("license") = "Dual BSD/GPL";
