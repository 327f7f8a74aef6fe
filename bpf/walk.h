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

#include "parse.h"
#include "tables.h"

#define RECORDS_PER_STEP 4
#define FEATURES_OF_SETS (SLUICE_FEATURE_SOURCE_SETS | SLUICE_FEATURE_DESTINATION_SETS)

/* Words of a key that no cut and no long record of its form looks at: what short records do. */
#define KEY_SHORT_PORTS 3 /* source | destination << 32, and the guards */
#define KEY_SHORT_HEADER 4

/*
 * A walk, in the memory of its caller: the walk functions are global, so that the verifier checks each once, for any key
 * and any tables, instead of once for each way through the parser.
 */
struct walk {
	__u64 key[8]; /* by the tree's form: see struct sluice_record_ipv4 and _ipv6 */
	__u64 current; /* slot that is looked at next */
	__u64 best; /* label */
	__u64 after; /* label; with rules that count, only rules behind this one's are looked for */
	__u64 waiting; /* index of the top of pending */
	__u64 sets; /* bits of the large sets of the source, above them those of the destination */
	/*
	 * Slots of residual subtrees; the bottom one is 0: the end. They are read when their node is, at the same time as the
	 * child: one wait for the memory instead of two.
	 */
	union {
		__u64 pending[SLUICE_PENDING_SLOTS];
		struct packet packet; /* until the key is made: the stack is short */
	};
};

#define SLOT_PRIORITY(slot) ((slot) >> 48)
#define SLOT_TYPE(slot) ((slot) >> 42 & 7)
#define SLOT_INDEX(slot) ((slot) & 0x7ffffff)
#define SLOT_COUNT(slot) ((slot) >> 27 & 0xff)

/* Zero where every lane is in its range: a borrow would take the lane's guard bit. */
static __always_inline __u64 range_mismatch(__u64 guarded, __u64 low, __u64 lanes, __u64 guarded_high, __u64 guards)
{
	return ((guarded - low) & (guarded_high - lanes) & guards) ^ guards;
}

/* Zero where the record matches. Without a branch: each would cost the verifier states. */
static __always_inline __u64 mismatch_short(const struct sluice_short_ipv4 *r, const __u64 *key)
{
	const __u64 lanes = 0x0000ffff0000ffffULL;
	__u64 addresses = key[0] ^ r->addresses, header = r->header, ports = r->ports, shown = key[KEY_SHORT_PORTS];

	return addresses >> 32 >> (header >> SLUICE_SHORT_SOURCE_SHIFT & 63) |
	       (addresses & 0xffffffff) >> (header >> SLUICE_SHORT_DESTINATION_SHIFT & 63) |
	       ((key[KEY_SHORT_HEADER] ^ header) & header >> SLUICE_SHORT_HEADER_BITS &
		((1 << SLUICE_SHORT_HEADER_BITS) - 1)) |
	       range_mismatch(shown, ports & lanes, shown ^ SLUICE_SHORT_GUARDS, (ports >> 16 & lanes) | SLUICE_SHORT_GUARDS,
			      SLUICE_SHORT_GUARDS);
}

static __always_inline __u64 mismatch_lanes(__u64 lanes, __u64 low, __u64 guarded_high)
{
	return range_mismatch(lanes | SLUICE_LANE_GUARDS, low, lanes, guarded_high, SLUICE_LANE_GUARDS);
}

static __always_inline __u64 mismatch_ipv4(const struct sluice_record_ipv4 *r, const __u64 *key)
{
	return ((key[0] ^ r->addresses.value) & r->addresses.mask) | mismatch_lanes(key[1], r->low, r->guarded_high) |
	       ((key[2] ^ r->header.value) & r->header.mask);
}

static __always_inline __u64 mismatch_ipv6(const struct sluice_record_ipv6 *r, const __u64 *key)
{
	return ((key[0] ^ r->source_high.value) & r->source_high.mask) |
	       ((key[1] ^ r->destination_high.value) & r->destination_high.mask) |
	       mismatch_lanes(key[4], r->low, r->guarded_high) |
	       ((key[2] ^ r->source_low.value) & r->source_low.mask) |
	       ((key[3] ^ r->destination_low.value) & r->destination_low.mask) |
	       ((key[5] ^ r->header.value) & r->header.mask);
}

/* The same for what the record asks of the words 6 and 7, and of large sets. */
static __always_inline __u64 mismatch_link(const struct walk *w, const void *half, __u64 link)
{
	const struct sluice_record_link *r = table_record(half, link * sizeof(*r), constants.mask_64);
	__u64 mismatch = 0;

	if (reads(SLUICE_FEATURE_LINK))
		mismatch = ((w->key[6] ^ r->destination.value) & r->destination.mask) |
			   ((w->key[7] ^ r->source.value) & r->source.mask);
	if (reads(FEATURES_OF_SETS))
		mismatch |= (w->sets ^ r->sets.value) & r->sets.mask;
	return mismatch;
}

/* Nonzero where the label's rule isn't behind w->after's. */
static __always_inline __u64 is_passed(const struct walk *w, __u64 label)
{
	/* The top bit of the difference: set where the label's priority is the greater number. */
	return reads(SLUICE_FEATURE_COUNT) ? ~((w->after >> 32) - (label >> 32)) >> 63 : 0;
}

/* Looks at up to RECORDS_PER_STEP records. The label of the first that matches, or 0. */
static __always_inline __u64 search_short(const struct walk *w, const void *half, __u64 slot)
{
	__u64 offset = SLOT_INDEX(slot) * 32;
	__u32 count = SLOT_COUNT(slot);

	for (__u32 i = 0; i < RECORDS_PER_STEP; i++) {
		const struct sluice_short_ipv4 *r = table_record(half, offset + i * sizeof(*r), constants.mask_32);

		if (!(mismatch_short(r, w->key) | is_passed(w, r->label)))
			return r->label;
		if (i + 1 >= count)
			break;
	}
	return 0;
}

/* The same with long records. */
static __always_inline __u64 search_long(const struct walk *w, const void *half, __u64 slot,
					 const _Bool is_ipv6)
{
	const __u32 record_bytes = is_ipv6 ? sizeof(struct sluice_record_ipv6) : sizeof(struct sluice_record_ipv4);
	__u64 offset = SLOT_INDEX(slot) * 32;
	__u32 count = SLOT_COUNT(slot);

	for (__u32 i = 0; i < RECORDS_PER_STEP; i++) {
		const void *record = table_record(half, offset + i * record_bytes,
						  is_ipv6 ? constants.mask_128 : constants.mask_64);
		__u64 mismatch, label, link;

		if (is_ipv6) {
			mismatch = mismatch_ipv6(record, w->key);
			label = ((const struct sluice_record_ipv6 *)record)->label;
			link = ((const struct sluice_record_ipv6 *)record)->link;
		} else {
			mismatch = mismatch_ipv4(record, w->key);
			label = ((const struct sluice_record_ipv4 *)record)->label;
			link = ((const struct sluice_record_ipv4 *)record)->link;
		}
		if (reads(SLUICE_FEATURE_LINK | FEATURES_OF_SETS))
			mismatch |= mismatch_link(w, half, link);
		if (!(mismatch | is_passed(w, label)))
			return label;
		if (i + 1 >= count)
			break;
	}
	return 0;
}

/*
 * Up to SLUICE_STEPS_PER_CALL steps. The label of the first rule that matches, or SLUICE_LABEL_NONE; 0 if the walk is not over.
 *
 * w->current and its like come from memory, of which the verifier knows nothing, and so are any number to it at the head of
 * the loop in each round.
 */
static __always_inline __u64 walk(struct walk *w, __u64 origin, const _Bool is_ipv6)
{
	const void *tables = tables_begin(), *half;
	__u64 current, best, waiting;

	if (!w || !tables)
		return SLUICE_LABEL_BROKEN;
	half = half_of(tables, origin);
	current = w->current;
	best = w->best;
	waiting = w->waiting;
	for (int i = 0; i < SLUICE_STEPS_PER_CALL; i++) {
		__u64 type = SLOT_TYPE(current);

		if (type == SLUICE_SLOT_CUT) {
			__u64 offset = SLOT_INDEX(current) * 8, word = w->key[current >> 27 & 7];
			__u64 has_residual = current & SLUICE_SLOT_RESIDUAL;

			word >>= current >> 30 & 63;
			word &= (1ULL << (current >> 36 & 31)) - 1;
			current = table_word(half, offset + word * 8);
			if (has_residual) {
				waiting++;
				w->pending[waiting & (SLUICE_PENDING_SLOTS - 1)] = table_word(half, offset - 8);
			}
			if (SLOT_PRIORITY(current) <= SLOT_PRIORITY(best))
				continue;
		} else if (type) {
			const _Bool is_short = !is_ipv6 && type == SLUICE_SLOT_SHORT_LEAF;
			const __u32 record_bytes = is_ipv6 ? 128 : is_short ? 32 : 64;
			__u64 found = is_short ? search_short(w, half, current)
					       : search_long(w, half, current, is_ipv6);

			if (found) {
				if (found < best)
					best = found;
				best ^= w->pending[0]; /* zero, which the verifier doesn't know */
			} else if (SLOT_COUNT(current) > RECORDS_PER_STEP) {
				/* Go on with the next records: they are further on, and fewer. */
				current += RECORDS_PER_STEP * record_bytes / 32;
				current -= (__u64)RECORDS_PER_STEP << 27;
				continue;
			}
		}
		for (int j = 0; j < SLUICE_PENDING_SLOTS; j++) {
			current = w->pending[waiting & (SLUICE_PENDING_SLOTS - 1)];
			if (!current)
				return best;
			waiting--;
			if (SLOT_PRIORITY(current) <= SLOT_PRIORITY(best))
				break;
		}
	}
	w->current = current;
	w->best = best;
	w->waiting = waiting;
	return 0;
}

__noinline __u64 walk_ipv4(struct walk *w, __u64 origin) { return walk(w, origin, 0); }
__noinline __u64 walk_ipv6(struct walk *w, __u64 origin) { return walk(w, origin, 1); }

/* To the root. */
static __always_inline void start(struct walk *w, __u64 root, __u64 after)
{
	w->current = root;
	w->best = SLUICE_LABEL_NONE;
	w->after = after;
	w->waiting = 0;
	w->pending[0] = 0;
}

#endif
