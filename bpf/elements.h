/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What each element of the sets that count was asked for: a rule that counts a packet, because it decides or because it lets
 * it go on, counts it, too, at the longest element that holds its address, in each such set that the rule names and does not
 * negate. Rules.ReferenceClassifier says the same.
 *
 * User space makes the keys, before the element is in the tables, and takes them away behind it: nothing is allocated here.
 * Global functions, so that the verifier checks each once.
 */
#ifndef SLUICE_ELEMENTS_H
#define SLUICE_ELEMENTS_H

#include "maps.h"
#include "sets.h"
#include "walk.h"

/* Without large sets there is nothing in w->sets. */
#define COUNTS_ELEMENTS (reads(FEATURES_OF_SETS) && reads(SLUICE_FEATURE_ELEMENT_COUNTERS))

/*
 * Number of the lowest bit that is set: how many are below it. Arithmetic, which the verifier goes through once where a search
 * would have it go each way; clang 14 has no __builtin_ctzll() for BPF.
 */
static __always_inline __u64 lowest_bit(__u64 bits)
{
	__u64 below = ~bits & (bits - 1);

	below -= below >> 1 & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + (below >> 2 & 0x3333333333333333ULL);
	asm volatile("" : "+r"(below)); /* or the compiler sees through it */
	return (below + (below >> 4) & 0x0f0f0f0f0f0f0f0fULL) * 0x0101010101010101ULL >> 56;
}

/* Whether the longest element of some lengths is found, and counted: `longest` less the bit's number. */
static __always_inline _Bool count_longest(__u64 name, __u64 lengths, __u64 high, __u64 low, __u64 longest, __u32 bytes)
{
	for (int i = 0; i < 64 && lengths; i++) {
		__u64 beyond = lowest_bit(lengths), mask = ~0ULL << (beyond & 63);
		struct sluice_element_key key = { .set = name | (longest - beyond), .high = high, .low = low & mask };
		struct sluice_counter *counter;

		if (longest <= 64) {
			key.high = high & mask;
			key.low = 0;
		}
		counter = bpf_map_lookup_elem(&element_counters, &key);
		if (counter) {
			counter->packets++;
			counter->bytes += bytes;
			return 1;
		}
		lengths &= lengths - 1;
	}
	return 0;
}

/* An address of which the set has an element. `frame`: its bytes; above them 1 for IPv6. Of IPv4 `high` is the address. */
__noinline int count_in_set(__u64 origin, __u64 bit, __u64 high, __u64 low, __u64 frame)
{
	const void *tables = tables_begin(), *half;
	const struct sluice_counted_set *set;
	const struct sluice_sets *sets;
	__u64 cell, lengths, long_lengths = 0;

	if (!tables)
		return 0;
	half = half_of(tables, origin);
	sets = sets_in(half);
	set = table_record(half, (__u64)generation_in(half)->counted * SLUICE_SET_LINE_BYTES + (bit & 31) * sizeof(*set),
			   constants.mask_32);
	lengths = *(const volatile __u64 *)&set->lengths;
	if (frame >> 32) {
		cell = (__u64)sets->root_ipv6 * SLUICE_SET_LINE_BYTES + ((high >> 32) * SLUICE_SET_HASH_FIRST >> 49) * 16;
		lengths &= table_word(half, cell) | sets->wide_ipv6;
		long_lengths = *(const volatile __u64 *)&set->long_lengths & table_word(half, cell + 8);
		if (count_longest(set->name, long_lengths, high, low, 128, frame) ||
		    count_longest(set->name, lengths, high, 0, 64, frame))
			return 0;
	} else {
		/* Of those up to the root's it doesn't say. */
		cell = table_word(half, (__u64)sets->lengths_ipv4 * SLUICE_SET_LINE_BYTES + (high >> 18 & 0x3fff) * 8);
		lengths &= (cell >> (high >> 12 & 48) & 0xffff) | ~0xffffULL;
		if (count_longest(set->name, lengths, high, 0, 32, frame))
			return 0;
	}
	/* Then it is in the one that holds every address. */
	count_longest(set->name, 1, 0, 0, 0, frame);
	return 0;
}

/* A rule's packet, at the elements of both its addresses. */
__noinline int count_elements(const struct walk *w, __u64 origin, __u64 slot, __u64 frame)
{
	const void *tables = tables_begin(), *half;
	const struct sluice_generation *g;
	__u64 asked;

	if (!w || !tables)
		return 0;
	half = half_of(tables, origin);
	g = generation_in(half);
	if (slot >= g->counted_slots)
		return 0;
	asked = (__u64)g->counted * SLUICE_SET_LINE_BYTES + sizeof(struct sluice_counted) + slot * 8;
	asked = table_word(half, asked) & w->sets;
	for (int i = 0; i < 2 * SLUICE_SETS_MAX && asked; i++) {
		__u64 bit = lowest_bit(asked);
		_Bool is_source = bit < 32;

		if (frame >> 32)
			count_in_set(origin, bit, w->key[is_source ? 0 : 1], w->key[is_source ? 2 : 3], frame);
		else
			count_in_set(origin, bit, w->key[0] >> (is_source ? 32 : 0) & 0xffffffff, 0, frame);
		asked &= asked - 1;
	}
	return 0;
}

#endif
