/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packet and generation -> the entry that decides. Rules are tried in order; Rules.ReferenceClassifier is the oracle. */
#ifndef SLUICE_CLASSIFY_H
#define SLUICE_CLASSIFY_H

#include "maps.h"
#include "parse.h"

#define NO_ENTRY SLUICE_ENTRIES_MAX

/*
 * Zero where the entry matches. Without a branch: each one left pending per entry would cost the verifier a state, and
 * it follows at most 8192 (BPF_COMPLEXITY_LIMIT_JMP_SEQ).
 */
static __always_inline __u64 mismatch(const struct sluice_entry *e, const struct packet *p)
{
	__u64 addresses = ((p->source[0] & e->source_mask[0]) ^ e->source_value[0]) |
			  ((p->source[1] & e->source_mask[1]) ^ e->source_value[1]) |
			  ((p->destination[0] & e->destination_mask[0]) ^ e->destination_value[0]) |
			  ((p->destination[1] & e->destination_mask[1]) ^ e->destination_value[1]);
	__u64 header = (e->families_excluded & p->family) | ((p->protocol & e->protocol_mask) ^ e->protocol);
	/* The top bit of a difference of two 32-bit numbers says that it is negative: out of range. */
	__u64 ports = ((__u64)p->source_port - e->source_port_low) | ((__u64)e->source_port_high - p->source_port) |
		      ((__u64)p->destination_port - e->destination_port_low) |
		      ((__u64)e->destination_port_high - p->destination_port);

	return addresses | header | (ports & (1ULL << 63));
}

#define RUN 32 /* entries that one call looks at; divides SLUICE_ENTRIES_MAX */

/*
 * Looks at the entries from `start`, a multiple of RUN. Returns the index of the deciding one, or NO_ENTRY. `next` is the
 * first entry behind a `count` rule that has counted: its other entries must not count again.
 *
 * A global function, like classify(): the verifier checks it once, for any arguments, instead of once for each way
 * through the parser and each start. That keeps the whole program near 10,000 verified instructions.
 */
__noinline __u32 classify_run(const struct sluice_generation *g, const struct packet *p, __u32 *next, __u32 start,
			      __u32 frame_bytes)
{
	if (!g || !p || !next)
		return NO_ENTRY;
	start &= SLUICE_ENTRIES_MAX - RUN;
	for (__u32 i = 0; i < RUN; i++) {
		const struct sluice_entry *e = &g->entries[start + i];

		if (start + i >= g->entry_count)
			break;
		/* The top bit again: set while start + i < *next. */
		if (mismatch(e, p) | (((__u64)(start + i) - *next) & (1ULL << 63)))
			continue;
		if (e->action != SLUICE_ACTION_COUNT)
			return start + i;
		account(&rule_counters, e->slot, frame_bytes);
		*next = e->next;
	}
	return NO_ENTRY;
}

/* Index of the deciding entry, or NO_ENTRY for the default action. Counts the `count` rules passed on the way. */
__noinline __u32 classify(const struct sluice_generation *g, const struct packet *p, __u32 frame_bytes)
{
	__u32 next = 0;

	if (!g || !p)
		return NO_ENTRY;
	for (__u32 start = 0; start < SLUICE_ENTRIES_MAX; start += RUN) {
		__u32 index;

		if (start >= g->entry_count)
			break;
		index = classify_run(g, p, &next, start, frame_bytes);
		if (index < SLUICE_ENTRIES_MAX)
			return index;
	}
	return NO_ENTRY;
}

#endif
