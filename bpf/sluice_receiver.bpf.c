// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Receiver: copies packets into the frames of an AF_XDP socket, and tells of them by rings like the socket's own, all in
 * memory that user space maps. What a driver without zero-copy costs beside the copy (the redirect, the socket's locks, the
 * kernel's buffers) is saved: on a veth 1.4 times as many packets as through the socket.
 *
 * One receive queue, whose packets come one at a time: a driver's NAPI. `sluice_xdp` calls it by a tail call in the place
 * of a redirect, its metadata in front of the packet; or it is attached by itself.
 *
 * Memory order as in the kernel's rings (net/xdp/xsk_queue.h): each index that hands something over is stored with release
 * and loaded with acquire. On x86-64 these are plain accesses, which the compiler must leave in order. Elsewhere they are
 * atomic operations that return a value, full barriers by BPF's memory model: release and acquire come with Linux 6.15.
 */
#include "copy.h"
#include "include/sluice_abi.h"

#define HEADER_BYTES 14

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 2 * SLUICE_LIVE_SLACK); /* user space raises it to its frames and SLUICE_LIVE_SLACK */
} memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct sluice_receiver_rings) + 24); /* user space raises it to its rings */
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* user space raises it to a page */
} wakeups SEC(".maps");

const volatile struct sluice_receiver_constants constants SEC(".rodata.sluice") = {};

static __always_inline __u32 load_acquire(__u32 *index)
{
	__u32 value;

	if (constants.is_weakly_ordered)
		return __sync_fetch_and_add(index, 0);
	value = *(volatile __u32 *)index;
	asm volatile("" ::: "memory");
	return value;
}

static __always_inline void store_release(__u32 *index, __u32 value)
{
	if (constants.is_weakly_ordered) {
		__sync_lock_test_and_set(index, value);
		return;
	}
	asm volatile("" ::: "memory");
	*(volatile __u32 *)index = value;
}

static __always_inline __u32 capacity(void) { return constants.frame_byte_count - constants.packet_offset; }

/* Where the packet of a frame goes; NULL for one that user space should not have put into its ring. */
static __always_inline void *packet_in(void *frames, __u64 frame)
{
	if (frame > constants.byte_count - constants.frame_byte_count)
		return NULL;
	return frames + frame + constants.packet_offset;
}

static __always_inline __u64 frame_at(const struct sluice_receiver_rings *r, __u32 index)
{
	return ((const volatile __u64 *)(r + 1))[index & constants.entry_mask];
}

static __always_inline void tell(struct sluice_receiver_rings *r, __u32 index, __u64 frame, __u32 length, __u32 options)
{
	volatile __u64 *receive = (volatile __u64 *)(r + 1) + (constants.entry_mask + 1);

	receive += 2 * (__u64)(index & constants.entry_mask);
	receive[0] = frame + constants.packet_offset;
	receive[1] = (__u64)options << 32 | length;
}

/* User space has the packet before it can take the frames' places in the fill ring for free. */
static __always_inline void publish(struct sluice_receiver_rings *r, __u32 frames, __u32 packets)
{
	__u64 nothing = 0;

	store_release(&r->receive_producer, packets);
	store_release(&r->fill_consumer, frames);
	/*
	 * No full barrier between the packet and the look for a sleeper: a sleeper looks once more after a moment, when the
	 * packet is in memory for certain.
	 */
	if (*(volatile __u32 *)&r->is_asleep && __sync_lock_test_and_set(&r->is_asleep, 0))
		bpf_ringbuf_output(&wakeups, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP);
}

static __always_inline int copy(struct xdp_md *ctx, void *to, __u64 length)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 tail = length - 32;

	if (length < 32 || length > 64)
		return bpf_xdp_load_bytes(ctx, 0, to, length);
	asm volatile("" : "+r"(tail)); /* see live.h */
	if (data + 32 > end || data + tail + 32 > end)
		return -1;
	copy_32(to, data);
	copy_32(to + tail, data + tail);
	return 0;
}

/* What a program before this one left in front of the packet. */
static __always_inline void copy_metadata(const struct xdp_md *ctx, void *to)
{
	const volatile __u64 *from = (void *)(long)ctx->data_meta;
	volatile __u64 *place = to - sizeof(struct sluice_metadata);

	if ((void *)(from + 2) > (void *)(long)ctx->data)
		return;
	place[0] = from[0];
	place[1] = from[1];
}

/* `part` bytes of the packet from `offset` on, into the frame that comes so many after the next. */
static __always_inline int copy_part(struct xdp_md *ctx, struct sluice_receiver_rings *r, void *frames, __u32 number,
				     __u64 offset, __u64 part, _Bool is_last)
{
	__u64 frame = frame_at(r, r->fill_consumer + number);
	void *to = packet_in(frames, frame);

	if (!to || bpf_xdp_load_bytes(ctx, offset, to, part))
		return -1;
	if (!number)
		copy_metadata(ctx, to);
	tell(r, r->receive_producer + number, frame, part, is_last ? 0 : SLUICE_RECEIVER_CONTINUED);
	return 0;
}

/*
 * A packet that is longer than a frame, into as many as it needs: full ones in the loop, whose bounds the verifier knows, and
 * the rest.
 */
static __always_inline int receive_long(struct xdp_md *ctx, struct sluice_receiver_rings *r, void *frames, __u64 length)
{
	__u64 full = length / capacity(), rest = length - full * capacity();
	__u32 needed = full + (rest != 0), number;

	if (!constants.takes_fragments || needed > SLUICE_RECEIVER_BUFFERS_MAX)
		goto too_long;
	if (load_acquire(&r->fill_producer) - r->fill_consumer < needed) {
		r->no_frame++;
		return XDP_DROP;
	}
	if (constants.entry_mask + 1 - (r->receive_producer - load_acquire(&r->receive_consumer)) < needed) {
		r->ring_full++;
		return XDP_DROP;
	}
	for (number = 0; number < SLUICE_RECEIVER_BUFFERS_MAX && number < full; number++) {
		if (copy_part(ctx, r, frames, number, (__u64)number * capacity(), capacity(), number + 1 == needed))
			goto too_long;
	}
	if (rest) {
		asm volatile("" : "+r"(rest)); /* bounds of its own, which the verifier can't have from the division */
		if (!rest || rest > capacity() || copy_part(ctx, r, frames, number, full * capacity(), rest, 1))
			goto too_long;
	}
	publish(r, r->fill_consumer + needed, r->receive_producer + needed);
	return XDP_DROP;
too_long:
	r->too_long++;
	return XDP_DROP;
}

/* The frame is not taken where this fails. */
SEC("xdp")
int sluice_receiver(struct xdp_md *ctx)
{
	__u64 length = constants.has_frags ? bpf_xdp_get_buff_len(ctx) : ctx->data_end - ctx->data;
	struct sluice_receiver_rings *r;
	__u32 key = 0, taken, told;
	void *frames, *to;
	__u64 frame;

	r = bpf_map_lookup_elem(&rings, &key);
	frames = bpf_map_lookup_elem(&memory, &key);
	if (!r || !frames || length < HEADER_BYTES)
		return XDP_DROP;
	if (length > capacity())
		return receive_long(ctx, r, frames, length);
	taken = r->fill_consumer;
	if (load_acquire(&r->fill_producer) == taken) {
		r->no_frame++;
		return XDP_DROP;
	}
	told = r->receive_producer;
	if (told - load_acquire(&r->receive_consumer) > constants.entry_mask) {
		r->ring_full++;
		return XDP_DROP;
	}
	frame = frame_at(r, taken);
	to = packet_in(frames, frame);
	if (!to || copy(ctx, to, length)) {
		r->too_long++;
		return XDP_DROP;
	}
	copy_metadata(ctx, to);
	tell(r, told, frame, length, 0);
	publish(r, taken + 1, told + 1);
	return XDP_DROP;
}

char program_license[] SEC("license") = "Dual BSD/GPL";
