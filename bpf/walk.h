/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The walk through a cut tree: key -> label of the first rule that matches.
 *
 * A node cuts the key space by some bits of one word of the key; rules too wide for that cut are in the node's residual
 * subtree, which waits its turn. A leaf holds records in order of priority. Each slot carries the best priority below it,
 * so that what cannot be better than what was found is not entered. RuleCompiler has proven of each tree that no walk
 * takes more steps, or keeps more subtrees waiting, than the bounds here. Should one do so all the same, it ends in
 * SLUICE_LABEL_BROKEN: the packet is dropped and counted.
 */
#ifndef SLUICE_WALK_H
#define SLUICE_WALK_H

#include "tables.h"

/* Steps of one call of a walk function. Most walks need one call. */
#define STEPS_PER_CALL 16
#define RECORDS_PER_STEP 4

/*
 * A walk, in the memory of its caller: the walk functions are global, so that the verifier checks each once, for any key
 * and any tables, instead of once for each way through the parser.
 */
struct walk {
	__u64 key[8]; /* by the tree's form: see struct sluice_record_ipv4 and _ipv6 */
	__u64 current; /* slot that is looked at next */
	__u64 best; /* label */
	__u64 after; /* only rules of a lower rank than this label's are looked for */
	__u64 origin; /* byte offset of the generation in the tables */
	/*
	 * Zero, which the verifier doesn't know: a number that was combined with it is any number to the verifier, so that
	 * the state at the head of a loop is the same in each round and is followed once.
	 */
	__u64 unknown_zero;
	__u64 waiting; /* index of the top of pending */
	__u64 pending[SLUICE_PENDING_SLOTS]; /* word indices of residual subtrees; the bottom one is 0: the end */
};

#define SLOT_PRIORITY(slot) ((slot) >> 48)
#define SLOT_TYPE(slot) ((slot) >> 42 & 7)
#define SLOT_INDEX(slot) ((slot) & 0x7ffffff)

/* Zero where every lane is in its range: a borrow would take the lane's guard bit. */
static __always_inline __u64 range_mismatch(__u64 lanes, __u64 low, __u64 guarded_high)
{
	return (((lanes | SLUICE_LANE_GUARDS) - low) & (guarded_high - lanes) & SLUICE_LANE_GUARDS) ^
	       SLUICE_LANE_GUARDS;
}

/* Zero where the record matches. Without a branch: each would cost the verifier states. */
static __always_inline __u64 mismatch_ipv4(const struct sluice_record_ipv4 *r, const __u64 *key)
{
	return ((key[0] ^ r->addresses.value) & r->addresses.mask) | range_mismatch(key[1], r->low, r->guarded_high) |
	       ((key[2] ^ r->header.value) & r->header.mask);
}

static __always_inline __u64 mismatch_ipv6(const struct sluice_record_ipv6 *r, const __u64 *key)
{
	return ((key[0] ^ r->source_high.value) & r->source_high.mask) |
	       ((key[1] ^ r->destination_high.value) & r->destination_high.mask) |
	       range_mismatch(key[4], r->low, r->guarded_high) |
	       ((key[2] ^ r->source_low.value) & r->source_low.mask) |
	       ((key[3] ^ r->destination_low.value) & r->destination_low.mask) |
	       ((key[5] ^ r->header.value) & r->header.mask);
}

/* The same for what the record asks of the words 6 and 7. */
static __always_inline __u64 mismatch_link(const struct walk *w, const void *tables, __u64 link)
{
	const struct sluice_record_link *r =
		table_record(tables, w->origin + link * sizeof(*r), sizeof(*r));

	return ((w->key[6] ^ r->destination.value) & r->destination.mask) |
	       ((w->key[7] ^ r->source.value) & r->source.mask);
}

/* Looks at up to RECORDS_PER_STEP records from word `index` on. The label of the first that matches, or 0. */
static __always_inline __u64 search_records(const struct walk *w, const void *tables, __u64 index, __u32 count,
					    const _Bool is_ipv6)
{
	const __u32 record_bytes = is_ipv6 ? sizeof(struct sluice_record_ipv6) : sizeof(struct sluice_record_ipv4);

	for (__u32 i = 0; i < RECORDS_PER_STEP; i++) {
		const void *record = table_record(tables, w->origin + index * 8 + i * record_bytes, record_bytes);
		__u64 mismatch, label, link;

		if (i >= count)
			break;
		if (is_ipv6) {
			mismatch = mismatch_ipv6(record, w->key);
			label = ((const struct sluice_record_ipv6 *)record)->label;
			link = ((const struct sluice_record_ipv6 *)record)->link;
		} else {
			mismatch = mismatch_ipv4(record, w->key);
			label = ((const struct sluice_record_ipv4 *)record)->label;
			link = ((const struct sluice_record_ipv4 *)record)->link;
		}
		if (reads(SLUICE_FEATURE_LINK))
			mismatch |= mismatch_link(w, tables, link);
		/* The top bit of the difference: set where the label's priority is the greater number. */
		mismatch |= ~((w->after >> 32) - (label >> 32)) >> 63;
		if (!mismatch)
			return label;
	}
	return 0;
}

/* Up to STEPS_PER_CALL steps. Returns whether the walk is over; w->best is what was found. */
static __always_inline int walk(struct walk *w, const _Bool is_ipv6)
{
	__u64 current, best, waiting;
	const void *tables;

	if (!w)
		return 1;
	tables = tables_begin();
	if (!tables)
		return 1;
	current = w->current;
	best = w->best;
	waiting = w->waiting;
	for (int i = 0; i < STEPS_PER_CALL; i++) {
		__u64 type = SLOT_TYPE(current), next;

		if (type == SLUICE_SLOT_CUT) {
			__u64 base = SLOT_INDEX(current), word = w->key[current >> 27 & 7];

			if (current & SLUICE_SLOT_RESIDUAL) {
				waiting++;
				w->pending[waiting & (SLUICE_PENDING_SLOTS - 1)] = base - 1;
			}
			word >>= current >> 30 & 63;
			word &= (1ULL << (current >> 36 & 31)) - 1;
			current = table_word(tables, w->origin + (base + word) * 8);
			if (SLOT_PRIORITY(current) <= SLOT_PRIORITY(best) && SLOT_TYPE(current))
				continue;
		} else if (type == SLUICE_SLOT_LEAF) {
			__u32 count = current >> 27 & 0xff;
			__u64 found = search_records(w, tables, SLOT_INDEX(current) * 8, count, is_ipv6);

			if (found) {
				if (found < best)
					best = found;
				best ^= w->unknown_zero;
			} else if (count > RECORDS_PER_STEP) {
				/* Go on with the next records: their line is further, and they are fewer. */
				current += RECORDS_PER_STEP * (is_ipv6 ? 2 : 1);
				current -= (__u64)RECORDS_PER_STEP << 27;
				continue;
			}
		}
		next = w->pending[waiting & (SLUICE_PENDING_SLOTS - 1)];
		if (!next) {
			w->best = best;
			return 1;
		}
		waiting--;
		current = table_word(tables, w->origin + next * 8);
		if (SLOT_PRIORITY(current) > SLOT_PRIORITY(best))
			current = w->unknown_zero;
	}
	w->current = current;
	w->best = best;
	w->waiting = waiting;
	return 0;
}

__noinline int walk_ipv4(struct walk *w) { return walk(w, 0); }
__noinline int walk_ipv6(struct walk *w) { return walk(w, 1); }

/* The rest of a long walk; a function of its own, so that its loop is verified once. Returns whether it came to an end. */
__noinline int walk_on(struct walk *w, int is_ipv6)
{
	if (!w)
		return 0;
	for (int i = 1; i < SLUICE_STEPS_MAX / STEPS_PER_CALL; i++)
		if (is_ipv6 ? walk_ipv6(w) : walk_ipv4(w))
			return 1;
	return 0;
}

/* The label of the first rule behind `after` that matches in the tree; SLUICE_LABEL_NONE if there is none. */
static __always_inline __u64 find(struct walk *w, __u64 root, __u64 after, _Bool is_ipv6)
{
	w->current = root;
	w->best = SLUICE_LABEL_NONE;
	w->after = after;
	w->waiting = 0;
	w->pending[0] = 0;
	if ((is_ipv6 ? walk_ipv6(w) : walk_ipv4(w)) || walk_on(w, is_ipv6))
		return w->best;
	return SLUICE_LABEL_BROKEN;
}

#endif
