/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Large sets of addresses in a generation: which of them an address is in, as bits of a word that records test.
 *
 * Elements lie in hash tables of lines of 64 bytes, one table each for IPv4, for IPv6 up to /64 and for longer IPv6. An element
 * is in its first line or in its second one, and a line says whether there are elements that went from it to their second: a
 * lookup reads two lines at most, whatever the elements are. Roots say of which lengths there can be elements that hold an
 * address.
 *
 * User space changes elements in place while packets look them up. An element of IPv4 is one word, so one store. One of IPv6
 * is a key, stored while the place is empty, and then the place's bits; a place that was emptied gets another key only after a
 * grace period. Readers read the bits before the key, and whether a line overflows after its places: an element that moves to
 * its second line is there, and the line says so, before its place in the first goes.
 */
#ifndef SLUICE_SETS_ABI_H
#define SLUICE_SETS_ABI_H

#include <linux/types.h>

/* Large sets of one generation: bits of a place. Above them is the length of the element. */
#define SLUICE_SETS_MAX 24
#define SLUICE_SET_BITS_MASK 0xffffff
#define SLUICE_SET_LENGTH 24
#define SLUICE_SET_LINE_BYTES 64
/* Elements in a line: of IPv4, of IPv6 up to /64, of longer IPv6. */
#define SLUICE_SET_PLACES_IPV4 7
#define SLUICE_SET_PLACES_SHORT 5
#define SLUICE_SET_PLACES_LONG 3
/* Elements of IPv4 up to so long are in the root alone. */
#define SLUICE_SET_ROOT_LENGTH 16
#define SLUICE_SET_ROOT_WORDS_IPV4 65536
/* Pairs of words, by a hash of an address's first 32 bits; elements of IPv6 that are no longer are in no cell. */
#define SLUICE_SET_ROOT_CELLS_IPV6 32768
#define SLUICE_SET_CELL_LENGTH 32

/* Hash of an element: (a ^ seed) * FIRST, folded, ^ b, * SECOND. Its halves choose the first line and the second. */
#define SLUICE_SET_HASH_FIRST 0x9e3779b97f4a7c15ULL
#define SLUICE_SET_HASH_SECOND 0xc2b2ae3d27d4eb4fULL

struct sluice_set_line_ipv4 {
	/* From the high end: address 32 (bits beyond the length 0), length 8, sets 24. */
	__u64 places[SLUICE_SET_PLACES_IPV4];
	__u64 overflows; /* boolean */
};

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
	/*
	 * Words by the first 16 bits of an address: in the low half the bits of the sets that hold all of these addresses, above that
	 * bit 32 - length for each length above 16 that there is. 0: there are no sets of IPv4.
	 */
	__u32 root_ipv4;
	/* Cells: bit 64 - length of the first word, bit 128 - length of the second. 0: there are no sets of IPv6. */
	__u32 root_ipv6;
	struct sluice_set_table ipv4, ipv6_short, ipv6_long;
	__u32 reserved;
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
_Static_assert(sizeof(struct sluice_set_line_ipv4) == SLUICE_SET_LINE_BYTES, "ABI");
_Static_assert(sizeof(struct sluice_set_line_short) == SLUICE_SET_LINE_BYTES, "ABI");
_Static_assert(sizeof(struct sluice_set_line_long) == SLUICE_SET_LINE_BYTES, "ABI");
_Static_assert(sizeof(struct sluice_sets) == SLUICE_SET_LINE_BYTES, "ABI");

#endif
