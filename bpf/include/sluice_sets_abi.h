/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Large sets of addresses in a generation: which of them an address is in, as bits of a word that records test.
 *
 * Elements of IPv4 lie in a trie that is small enough for the cache: a cell for each value of an address's first 16 bits leads to
 * a list of what lies below it, or to cells that split it further. Lists say no more than the low 16 bits of each element, in
 * words of four.
 *
 * Those of IPv6 lie in hash tables of lines of 64 bytes, one each for elements up to /64 and for longer ones. An element is in its
 * first line or in its second one, and a line says whether there are elements that went from it to their second: a lookup reads
 * two lines at most, whatever the elements are. Roots say of which lengths there can be elements that hold an address.
 *
 * User space changes elements in place while packets look them up. Of IPv4 it stores one word of a list, or makes another list
 * and stores the cell that leads to it; the old one's words are used again after a grace period. Whoever reads a segment's words
 * has read its header before. An element of IPv6 is a key, stored while the place is empty, and then the place's bits; a place
 * that was emptied gets another key only after a grace period. Readers read the bits before the key, and whether a line overflows
 * after its places: an element that moves to its second line is there, and the line says so, before its place in the first goes.
 */
#ifndef SLUICE_SETS_ABI_H
#define SLUICE_SETS_ABI_H

#include <linux/types.h>

/* Large sets of one generation: bits of a cell, a segment, a place. Above a place's is the length of the element. */
#define SLUICE_SETS_MAX 24
#define SLUICE_SET_BITS_MASK 0xffffff
#define SLUICE_SET_LENGTH 24
#define SLUICE_SET_LINE_BYTES 64

/*
 * A cell, from the low end: bits of the sets that have an element which holds all of the cell's addresses and not all of those of
 * the cell above; where its list begins or its cells, counted in words from the begin of the half; how many of the next bits of
 * an address choose among its cells, 0: it has none; words of its list, 0: it has none.
 */
#define SLUICE_SET_CELL_INDEX 24 /* 27 bits */
#define SLUICE_SET_CELL_SPLIT 51 /* 5 bits */
#define SLUICE_SET_CELL_WORDS 56 /* 8 bits */
/* Bits of an address that choose the root's cell, and splits behind it at most. */
#define SLUICE_SET_ROOT_LENGTH 16
#define SLUICE_SET_ROOT_CELLS_IPV4 65536
#define SLUICE_SET_SPLITS_MAX 8
#define SLUICE_SET_LIST_WORDS_MAX 16

/*
 * A list is segments: a header and the words of elements that the same sets have. From the low end of a header: bits of the
 * sets; words of the segment, with the header; words of hosts, which follow it; words of prefixes, the last ones. Between them
 * may be words of what was taken out.
 *
 * A word has four lanes, which may repeat one another: each the low 16 bits of a host; or of a prefix, whose last 1 is where the
 * prefix ends.
 */
#define SLUICE_SET_SEGMENT_WORDS 24
#define SLUICE_SET_SEGMENT_HOSTS 32
#define SLUICE_SET_SEGMENT_PREFIXES 40
#define SLUICE_SET_SEGMENT_FIELD 0xff
#define SLUICE_SET_SEGMENTS_MAX (SLUICE_SET_LIST_WORDS_MAX / 2)
#define SLUICE_SET_LANES 0x0001000100010001ULL

/* Elements in a line: of IPv6 up to /64, of longer IPv6. */
#define SLUICE_SET_PLACES_SHORT 5
#define SLUICE_SET_PLACES_LONG 3
/* Pairs of words, by a hash of an address's first 32 bits; elements of IPv6 that are no longer are in no cell. */
#define SLUICE_SET_ROOT_CELLS_IPV6 32768
#define SLUICE_SET_CELL_LENGTH 32

/* Hash of an element: (a ^ seed) * FIRST, folded, ^ b, * SECOND. Its halves choose the first line and the second. */
#define SLUICE_SET_HASH_FIRST 0x9e3779b97f4a7c15ULL
#define SLUICE_SET_HASH_SECOND 0xc2b2ae3d27d4eb4fULL

struct sluice_set_line_short {
	__u64 keys[SLUICE_SET_PLACES_SHORT]; /* high halves of addresses */
	__u32 bits[SLUICE_SET_PLACES_SHORT]; /* length 8, sets 24 */
	__u32 overflows;
};

struct sluice_set_line_long {
	__u64 keys[2 * SLUICE_SET_PLACES_LONG]; /* high and low half in turn */
	__u32 bits[SLUICE_SET_PLACES_LONG];
	__u32 overflows;
};

struct sluice_set_table {
	__u32 line; /* the first; one at least is there */
	__u32 line_count;
	__u32 seed;
};

/* All lines are counted from the begin of the generation's half. */
struct sluice_sets {
	/* Cells by the first 16 bits of an address. 0: there are no sets of IPv4. */
	__u32 root_ipv4;
	/* Cells: bit 64 - length of the first word, bit 128 - length of the second. 0: there are no sets of IPv6. */
	__u32 root_ipv6;
	struct sluice_set_table ipv6_short, ipv6_long;
	/*
	 * Where a set of IPv4 counts, 16 bits by the first 16 of an address: bit 32 - length for each length above 16 of which
	 * there can be elements. 0: none does.
	 */
	__u32 lengths_ipv4;
	__u32 reserved[3];
	__u64 wide_ipv6; /* bit 64 - length for each length from 1 to SLUICE_SET_CELL_LENGTH */
	__u64 all_ipv6; /* bits of the sets that hold ::/0 */
};

/* An element of a set that counts: key of the map element_counters. */
struct sluice_element_key {
	__u64 set; /* from the low end: length 8, and what stands for the set's name */
	__u64 high; /* address, without the bits beyond the length; of IPv4: the address */
	__u64 low;
};
#define SLUICE_ELEMENT_NAME 8

struct sluice_counted_set {
	__u64 name; /* as in the keys of its elements */
	/* Lengths that its elements may have: bit 32 - length of IPv4, 64 - length of IPv6 up to /64, 128 - length of longer ones. */
	__u64 lengths;
	__u64 long_lengths;
	__u64 reserved;
};

/* Behind it a word for each slot: bits of the sets that count and that the slot's rule names, as in sluice_record_link.sets. */
struct sluice_counted {
	struct sluice_counted_set sets[SLUICE_SETS_MAX];
};

_Static_assert(sizeof(struct sluice_element_key) == 24, "ABI");
_Static_assert(sizeof(struct sluice_counted_set) == 32, "ABI");
_Static_assert(sizeof(struct sluice_counted) % SLUICE_SET_LINE_BYTES == 0, "ABI");
_Static_assert(sizeof(struct sluice_set_line_short) == SLUICE_SET_LINE_BYTES, "ABI");
_Static_assert(sizeof(struct sluice_set_line_long) == SLUICE_SET_LINE_BYTES, "ABI");
_Static_assert(sizeof(struct sluice_sets) == SLUICE_SET_LINE_BYTES, "ABI");

#endif
