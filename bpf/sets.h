/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Address -> bits of the large sets that hold it, by the struct sluice_sets of a generation (sluice_sets_abi.h), which
 * Sources/RuleCompiler/SetTables.swift builds.
 *
 * Global functions of numbers, with frames of their own: the verifier checks each once, and the walk's stack stays as it is.
 * All loops are bounded by the number of lengths that there are.
 */
#ifndef SLUICE_SETS_H
#define SLUICE_SETS_H

#include "tables.h"

/* What no bits of sets are. */
#define SETS_BROKEN (~0ULL)
/* Lengths of one word, and the bytes without any that are skipped. */
#define LENGTH_STEPS_MAX (64 + 8)

/* Where an element can be: byte offsets of its lines in the half. */
struct set_lines {
	__u64 first, second;
};

static __always_inline struct set_lines lines_of(const struct sluice_set_table *table, __u64 a, __u64 b)
{
	__u64 hash = (a ^ table->seed) * SLUICE_SET_HASH_FIRST, count = table->line_count, line = table->line;

	hash ^= hash >> 32;
	hash = (hash ^ b) * SLUICE_SET_HASH_SECOND;
	return (struct set_lines){ (line + ((hash >> 32) * count >> 32)) * SLUICE_SET_LINE_BYTES,
				   (line + ((hash & 0xffffffff) * count >> 32)) * SLUICE_SET_LINE_BYTES };
}

/* The bits where the difference is 0. Without a branch: each would cost the verifier states. */
static __always_inline __u64 bits_if_same(__u64 bits, __u64 difference)
{
	__u64 differs = (difference | -difference) >> 63;

	asm volatile("" : "+r"(differs)); /* or the compiler makes a branch of it */
	return bits & (differs - 1);
}

/*
 * 0, by way of a number that was loaded: an address with it added is read after the number, on CPUs that otherwise load in any
 * order too (an address dependency, Documentation/memory-barriers.txt). Hidden from the compiler, known to the verifier.
 */
static __always_inline __u64 after(__u64 loaded)
{
	asm volatile("%0 &= 0" : "+r"(loaded));
	return loaded;
}

/* A key of a place whose bits were read: user space stores the key before the bits. */
static __always_inline __u64 key_behind(__u64 bits, const __u64 *key)
{
	return *(const volatile __u64 *)((const void *)key + after(bits));
}

/*
 * Whether elements went from a line to their second one, read after the line's places: user space stores it, and before it the
 * second line, before a place is empty.
 */
static __always_inline __u64 overflows_behind(__u64 found, const __u32 *overflows)
{
	return *(const volatile __u32 *)((const void *)overflows + after(found));
}

static __always_inline __u64 bits_in_short(const struct sluice_set_line_short *line, __u64 key, __u64 length)
{
	__u64 found = 0;

#pragma unroll
	for (int i = 0; i < SLUICE_SET_PLACES_SHORT; i++) {
		__u64 bits = *(const volatile __u32 *)&line->bits[i];

		found |= bits_if_same(bits, (key_behind(bits, &line->keys[i]) ^ key) |
						    (bits >> SLUICE_SET_LENGTH ^ length));
	}
	return found;
}

static __always_inline __u64 bits_in_long(const struct sluice_set_line_long *line, __u64 high, __u64 low, __u64 length)
{
	__u64 found = 0;

#pragma unroll
	for (int i = 0; i < SLUICE_SET_PLACES_LONG; i++) {
		__u64 bits = *(const volatile __u32 *)&line->bits[i];

		found |= bits_if_same(bits, (key_behind(bits, &line->keys[2 * i]) ^ high) |
						    (key_behind(bits, &line->keys[2 * i + 1]) ^ low) |
						    (bits >> SLUICE_SET_LENGTH ^ length));
	}
	return found;
}

static __always_inline const struct sluice_sets *sets_in(const void *half)
{
	return table_record(half, (__u64)generation_in(half)->sets * SLUICE_SET_LINE_BYTES, constants.mask_64);
}

#define SEGMENT_FIELD(header, field) ((header) >> (field) & SLUICE_SET_SEGMENT_FIELD)

/* In the high bits of lanes: whether one is 0 at least. Not which: a 0 borrows from the lane above it. */
static __always_inline __u64 zero_in(__u64 lanes) { return (lanes - SLUICE_SET_LANES) & ~lanes; }

/* The header's bits if a segment of a list has the address, whose low 16 bits all lanes repeat. */
static __always_inline __u64 bits_in_segment(const void *segment, __u64 header, __u64 address)
{
	__u64 hosts = SEGMENT_FIELD(header, SLUICE_SET_SEGMENT_HOSTS), zero = 0;
	__u64 prefixes = SEGMENT_FIELD(header, SLUICE_SET_SEGMENT_PREFIXES);

	for (__u64 i = 0; i < SLUICE_SET_LIST_WORDS_MAX - 1 && i < hosts; i++)
		zero |= zero_in(((const volatile __u64 *)segment)[1 + i] ^ address);
	if (prefixes) {
		__u64 first = SEGMENT_FIELD(header, SLUICE_SET_SEGMENT_WORDS) - prefixes;

		segment += (first & SLUICE_SET_LIST_WORDS_MAX - 1) * 8;
		for (__u64 i = 0; i < SLUICE_SET_LIST_WORDS_MAX - 1 && i < prefixes; i++) {
			__u64 word = ((const volatile __u64 *)segment)[i];

			/* Without what is below the 1 that ends the prefix: no lane is 0, so none borrows. */
			zero |= zero_in((word ^ address) & ~(word ^ (word - SLUICE_SET_LANES)));
		}
	}
	zero &= SLUICE_SET_LANES << 15;
	return header & -((zero | -zero) >> 63);
}

/* Bits of the sets that hold an address, in host order. */
__noinline __u64 sets_of_ipv4(__u64 origin, __u64 address)
{
	/* Behind it an address of a segment is inside the half whatever its words are. */
	const __u64 last = constants.mask_8 - 2 * SLUICE_SET_LIST_WORDS_MAX * 8;
	const void *tables = tables_begin(), *half;
	const struct sluice_sets *sets;
	__u64 cell, found, offset, end, rest = address << 48;

	if (!tables)
		return SETS_BROKEN;
	half = half_of(tables, origin);
	sets = sets_in(half);
	if (!sets->root_ipv4)
		return 0;
	cell = table_word(half, (__u64)sets->root_ipv4 * SLUICE_SET_LINE_BYTES + (address >> 16 & 0xffff) * 8);
	found = cell;
	for (int i = 0; i < SLUICE_SET_SPLITS_MAX; i++) {
		__u64 split = cell >> SLUICE_SET_CELL_SPLIT & 31;

		if (!split)
			break;
		cell = table_word(half, ((cell >> SLUICE_SET_CELL_INDEX & 0x7ffffff) + (rest >> (64 - split & 63))) * 8);
		rest <<= split;
		found |= cell;
	}
	if (cell >> SLUICE_SET_CELL_SPLIT & 31)
		return SETS_BROKEN;
	offset = (cell >> SLUICE_SET_CELL_INDEX & 0x7ffffff) * 8;
	end = offset + (cell >> SLUICE_SET_CELL_WORDS) * 8;
	address = (address & 0xffff) * SLUICE_SET_LANES;
	for (int i = 0; i < SLUICE_SET_SEGMENTS_MAX; i++) {
		const void *segment;
		__u64 header;

		if (offset >= end)
			return found & SLUICE_SET_BITS_MASK;
		if (offset > last)
			return SETS_BROKEN;
		segment = half + offset;
		header = *(const volatile __u64 *)segment;
		found |= bits_in_segment(segment + after(header), header, address);
		offset += SEGMENT_FIELD(header, SLUICE_SET_SEGMENT_WORDS) * 8;
	}
	return offset >= end ? found & SLUICE_SET_BITS_MASK : SETS_BROKEN;
}

/* Bits of the sets that have an element of IPv6: `high` and `low` are its address, without the bits beyond its length. */
__noinline __u64 sets_with_ipv6(__u64 origin, __u64 high, __u64 low, __u64 length)
{
	const void *tables = tables_begin(), *half, *line;
	const struct sluice_sets *sets;
	struct set_lines lines;
	__u64 found, overflows;

	if (!tables)
		return 0;
	half = half_of(tables, origin);
	sets = sets_in(half);
	if (length <= 64) {
		lines = lines_of(&sets->ipv6_short, high, length);
		line = table_record(half, lines.first, constants.mask_64);
		found = bits_in_short(line, high, length);
		overflows = overflows_behind(found, &((const struct sluice_set_line_short *)line)->overflows);
		if (overflows)
			found |= bits_in_short(table_record(half, lines.second, constants.mask_64) + after(overflows), high,
					       length);
		return found;
	}
	lines = lines_of(&sets->ipv6_long, high, low + length);
	line = table_record(half, lines.first, constants.mask_64);
	found = bits_in_long(line, high, low, length);
	overflows = overflows_behind(found, &((const struct sluice_set_line_long *)line)->overflows);
	if (overflows)
		found |= bits_in_long(table_record(half, lines.second, constants.mask_64) + after(overflows), high, low,
				      length);
	return found;
}

/* The same for all elements that hold an address, of the lengths whose bits say so: `length` less the bit's number. */
static __always_inline __u64 sets_of_lengths(__u64 origin, __u64 lengths, __u64 high, __u64 low, __u64 length,
					     const _Bool is_long)
{
	__u64 beyond = 0, found = 0;

	for (int i = 0; i < LENGTH_STEPS_MAX; i++) {
		if (!lengths)
			return found;
		if (!(lengths & 0xff)) {
			lengths >>= 8;
			beyond += 8;
			continue;
		}
		if (lengths & 1) {
			__u64 mask = ~0ULL << (beyond & 63);

			found |= is_long ? sets_with_ipv6(origin, high, low & mask, length - beyond)
					 : sets_with_ipv6(origin, high & mask, 0, length - beyond);
		}
		lengths >>= 1;
		beyond++;
	}
	return SETS_BROKEN;
}

/* Bits of the sets that hold an address, whose halves are in host order. */
__noinline __u64 sets_of_ipv6(__u64 origin, __u64 high, __u64 low)
{
	const void *tables = tables_begin(), *half;
	const struct sluice_sets *sets;
	__u64 cell, found;

	if (!tables)
		return SETS_BROKEN;
	half = half_of(tables, origin);
	sets = sets_in(half);
	if (!sets->root_ipv6)
		return 0;
	cell = (high >> 32) * SLUICE_SET_HASH_FIRST >> 49;
	cell = (__u64)sets->root_ipv6 * SLUICE_SET_LINE_BYTES + cell * 16;
	found = sets_of_lengths(origin, table_word(half, cell) | sets->wide_ipv6, high, low, 64, 0);
	found |= sets_of_lengths(origin, table_word(half, cell + 8), high, low, 128, 1);
	return found == SETS_BROKEN ? found : found | (sets->all_ipv6 & SLUICE_SET_BITS_MASK);
}

#endif
