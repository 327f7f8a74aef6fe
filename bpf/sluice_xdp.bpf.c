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
	__u32 frame_bytes = frame_length(ctx), key = 0, action, slot = SLUICE_SLOT_DEFAULT, argument = 0;
	const struct sluice_generation *g;
	struct packet p = {};
	int malformed;
	void *map;

	map = bpf_map_lookup_elem(&generations, &key);
	g = map ? bpf_map_lookup_elem(map, &key) : 0;
	if (!g) {
		account(&interface_counters, SLUICE_COUNTER_NO_GENERATION, frame_bytes);
		return end(SLUICE_COUNTER_PASS, frame_bytes);
	}

	malformed = parse(ctx, &p, frame_bytes);
	if (malformed != SLUICE_MALFORMED_NONE) {
		action = g->malformed_action[malformed & 15];
		account(&interface_counters, SLUICE_COUNTER_MALFORMED + (malformed & 15), frame_bytes);
	} else {
		__u32 index = classify(g, &p, frame_bytes);

		action = g->default_action;
		if (index < SLUICE_ENTRIES_MAX) {
			const struct sluice_entry *e = &g->entries[index];

			action = e->action;
			slot = e->slot;
			argument = action == SLUICE_ACTION_CAPTURE ? g->capture_fallback : e->redirect_ifindex;
		}
		account(&rule_counters, slot, frame_bytes);
	}
	if (constants.record_decisions)
		record(action, slot, malformed, g->generation);
	return act(ctx, action, slot, argument, frame_bytes);
}

char program_license[] SEC("license") = "Dual BSD/GPL";
