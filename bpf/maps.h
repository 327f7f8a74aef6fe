/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The maps of one interface's program. User space pins them, so that counters outlive the daemon. */
#ifndef SLUICE_MAPS_H
#define SLUICE_MAPS_H

#include "program.h"

/* By slot. User space makes it and the next larger where the rules need more slots. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_SLOTS_MIN);
	__type(key, __u32);
	__type(value, struct sluice_counter);
} rule_counters SEC(".maps");

/* By slot, what smaller rule_counters before these had counted. Only user space reads and writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLUICE_SLOTS_MIN);
	__type(key, __u32);
	__type(value, struct sluice_counter);
} carried_counters SEC(".maps");

/*
 * Of the sets that count, each element. User space makes it as large as their elements need, keys and all; what lies in
 * carried_elements smaller ones before it had counted, and only user space reads and writes that.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1);
	__type(key, struct sluice_element_key);
	__type(value, struct sluice_counter);
} element_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct sluice_element_key);
	__type(value, struct sluice_counter);
} carried_elements SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLUICE_COUNTERS);
	__type(key, __u32);
	__type(value, struct sluice_counter);
} interface_counters SEC(".maps");

/* Receive queue -> AF_XDP socket. An entry stands here only while somebody reads; the kernel removes a closed one. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, SLUICE_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/*
 * Receive queue -> program that takes its packets in the place of the socket, which must be there too: the kernel knows by it
 * that somebody reads, and removes both with their owner.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLUICE_QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} receivers SEC(".maps");

/*
 * Interface index -> itself; the kernel removes an interface that goes away. While rules or paths replace others, the targets
 * of both are here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 2 * (SLUICE_REDIRECT_TARGETS_MAX + 1));
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps");

/* Where the packets go that the rules pass. User space changes it under traffic. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_path);
} path SEC(".maps");

/* Only the self-test instance writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_decision);
} decision SEC(".maps");

/*
 * Counters are per CPU and the program runs with softirqs off on its CPU, so that a plain addition is enough; user
 * space sums the CPUs. The lookup fails for no key below max_entries; the check is for the verifier.
 */
static __always_inline void account(void *map, __u32 key, __u32 bytes)
{
	struct sluice_counter *counter = bpf_map_lookup_elem(map, &key);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

#endif
