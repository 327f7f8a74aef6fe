/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The compiled rules of one interface: an array that user space has mapped and writes, and that the program walks.
 *
 * Its first word says where the live generation begins; storing another number there is the swap. A packet reads it
 * once, so it sees one generation whole. Everything in a generation is relative to the half of the array that it is in.
 */
#ifndef SLUICE_TABLES_H
#define SLUICE_TABLES_H

#include "program.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SLUICE_TABLES_BYTES_MIN); /* user space enlarges it, and sets the constants with it */
} tables SEC(".maps");

static __always_inline const void *tables_begin(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&tables, &key);
}

/* The half that a generation is in. The mask keeps it one of the two. */
static __always_inline const void *half_of(const void *tables, __u64 origin)
{
	__u64 offset = origin & constants.half;

	asm volatile("" : "+r"(offset)); /* the compiler shall not think the mask superfluous */
	return tables + offset;
}

static __always_inline const struct sluice_generation *generation_in(const void *half)
{
	return half + SLUICE_TABLES_HEADER_BYTES;
}

/* What lies at an offset. The mask, of its size, keeps it inside the half, whatever the tables say. */
static __always_inline const void *table_record(const void *half, __u64 offset, __u64 mask)
{
	offset &= mask;
	asm volatile("" : "+r"(offset));
	return half + offset;
}

static __always_inline __u64 table_word(const void *half, __u64 offset)
{
	return *(const __u64 *)table_record(half, offset, constants.mask_8);
}

#endif
