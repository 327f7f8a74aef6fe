/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The compiled rules of one interface: an array that user space has mapped and writes, and that the program walks.
 *
 * Its first word says where the live generation begins; storing another number there is the swap. A packet reads it
 * once, so it sees one generation whole. Everything in a generation is relative to its begin.
 */
#ifndef SLUICE_TABLES_H
#define SLUICE_TABLES_H

#include "program.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, SLUICE_TABLES_BYTES_MIN); /* user space enlarges it, and sets constants.tables_mask with it */
} tables SEC(".maps");

static __always_inline const void *tables_begin(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&tables, &key);
}

/* A record of a power of two of bytes. The mask keeps it inside the array, whatever the tables say. */
static __always_inline const void *table_record(const void *tables, __u64 offset, __u32 byte_count)
{
	__u32 masked = offset & constants.tables_mask & -byte_count;

	asm volatile("" : "+r"(masked)); /* the compiler shall not think the mask superfluous */
	return tables + masked;
}

static __always_inline __u64 table_word(const void *tables, __u64 offset)
{
	return *(const __u64 *)table_record(tables, offset, sizeof(__u64));
}

#endif
