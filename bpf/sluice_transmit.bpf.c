// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Transmitter: sends frames out of the memory of an AF_XDP socket, which is a map here, as live frames. User space puts
 * descriptors into the queue and runs the program once for each; when the run returns, the frames are copied.
 *
 * One run at a time: `transmit` is not shared between CPUs. The program is attached only to a device that never
 * receives, for the dispatcher's sake; so it need not tell a run from a reception.
 */
#include "live.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 2 * SLUICE_LIVE_SLACK); /* user space raises it to its frames and SLUICE_LIVE_SLACK */
} memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, SLUICE_TRANSMIT_PORTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

const volatile struct sluice_transmit_constants constants SEC(".rodata.sluice") = {};
struct sluice_transmit transmit; /* in .bss, which user space maps */

SEC("xdp")
int sluice_transmit(struct xdp_md *ctx)
{
	__u64 descriptor = transmit.queue[transmit.consumed & (SLUICE_TRANSMIT_QUEUE_ENTRIES - 1)];
	__u64 address = descriptor & 0xffffffff;
	__u32 key = 0, length = descriptor >> 32 & 0xffff;
	const void *start = bpf_map_lookup_elem(&memory, &key);

	transmit.consumed++;
	if (!start || address >= constants.byte_count || length < FRAME_MIN || length > SLUICE_LIVE_FRAME_BYTES ||
	    build(ctx, start + address, length))
		goto fail;
	if (bpf_redirect_map(&ports, descriptor >> 48, XDP_DROP) != XDP_REDIRECT)
		goto fail;
	transmit.redirected++;
	return XDP_REDIRECT;
fail:
	transmit.failed++;
	return XDP_DROP;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
