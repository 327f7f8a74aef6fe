/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the programs that make, take and try packets share with Swift: transmitter, generator, sink, probe. */
#ifndef SLUICE_TRAFFIC_ABI_H
#define SLUICE_TRAFFIC_ABI_H

#include <linux/types.h>

/*
 * Live frames. Longest: a page less what the kernel puts into it (net/bpf/test_run.c), 3408 bytes on 6.18 and x86-64;
 * what does not fit fails and is counted. Their memory ends with so many bytes that no frame begins in.
 */
#define SLUICE_LIVE_FRAME_BYTES 3400
#define SLUICE_LIVE_SLACK 4096

/* The transmitter's, as struct sluice_constants. */
struct sluice_transmit_constants {
	__u32 byte_count; /* of frames, without the slack */
};

#define SLUICE_TRANSMIT_QUEUE_ENTRIES 8192
#define SLUICE_TRANSMIT_PORTS_MAX 64

/* What the transmitter and user space share, in `.bss`. */
struct sluice_transmit {
	__u32 consumed; /* descriptors the program has taken, wrapping; the next is at its remainder */
	__u32 reserved[15];
	__u64 redirected; /* handed to the port's interface, which may still drop them */
	__u64 failed; /* could not be built, or the port is gone */
	__u64 reserved2[6];
	__u64 queue[SLUICE_TRANSMIT_QUEUE_ENTRIES]; /* address:32 | length:16 | port:16, from the low end */
};

/*
 * The receiver: copies packets into the frames of an AF_XDP socket, which are a map, and tells of them in rings of its own.
 * Longest packet, in frames.
 */
#define SLUICE_RECEIVER_BUFFERS_MAX 40
/* XDP_PKT_CONTD of linux/if_xdp.h, since 6.6. */
#define SLUICE_RECEIVER_CONTINUED 1

/* The receiver's, as struct sluice_constants. */
struct sluice_receiver_constants {
	__u32 byte_count; /* of frames */
	__u32 frame_byte_count;
	__u32 packet_offset; /* from a frame's begin to its packet */
	__u32 entry_mask; /* entries of each ring, less 1 */
	__u32 has_frags; /* as in struct sluice_constants */
	__u32 takes_fragments; /* a packet may fill several frames */
	__u32 is_weakly_ordered; /* the machine is: indices need barriers */
};

/*
 * How the map `rings` begins. Behind it __u64 fill[entries], addresses of frames, and struct xdp_desc receive[entries].
 * Indices count on and wrap, as an AF_XDP socket's. A cache line for each writer.
 */
struct sluice_receiver_rings {
	__u32 fill_producer;
	__u32 receive_consumer;
	__u32 is_asleep; /* user space sleeps; the program clears it and says so in the ring buffer `wakeups` */
	__u32 flags; /* of the fill ring: never XDP_RING_NEED_WAKEUP */
	__u32 reserved[12];
	/* The program writes what follows. */
	__u32 fill_consumer;
	__u32 receive_producer;
	__u32 reserved2[14];
	__u64 no_frame; /* packets for which there was no frame */
	__u64 ring_full; /* nor room in the receive ring */
	__u64 too_long; /* packets that fit in no frame, or not in so many */
	__u64 reserved3[5];
};

/* The traffic generator's, as struct sluice_constants. */
struct sluice_generator_constants {
	__u32 byte_count; /* of frames, without the slack */
	__u32 frame_count;
	__u32 stamp_offset; /* where struct sluice_stamp is written into each frame */
	__u32 has_stamp; /* boolean */
	__u32 stream; /* in its stamps: below SLUICE_STREAMS_MAX */
};

/* What the traffic generator counts, in `.bss`. */
struct sluice_generator_state {
	__u32 next; /* frame to send */
	__u32 sequence; /* of the next stamp */
	__u64 redirected; /* handed to the output interface, which may still drop them */
	__u64 failed; /* could not be built */
};

#define SLUICE_GENERATOR_FRAMES_MAX 65536

/* In a frame, at any offset: numbers in host order. */
#define SLUICE_STAMP_MAGIC 0x706d7400u
#define SLUICE_STREAMS_MAX 256
struct sluice_stamp {
	__u32 magic; /* SLUICE_STAMP_MAGIC + stream */
	__u32 sequence; /* counts the frames of the stream, wrapping */
	__u64 timestamp; /* CLOCK_MONOTONIC, nanoseconds, when the frame was built */
};

/* The traffic sink's, as struct sluice_constants. */
struct sluice_sink_constants {
	__u32 stamp_offset;
	__u32 has_stamp; /* boolean */
	__u32 passes; /* boolean: to the stack instead of nowhere */
};

/* Latency buckets that hold any 64-bit value. */
#define SLUICE_LATENCY_BUCKETS 1920

/* What one CPU counts in the traffic sink; the last four are about stamped frames. */
struct sluice_sink_counters {
	__u64 packets;
	__u64 bytes;
	__u64 foreign; /* stamps are measured, and the frame has none: it is in no other count */
	__u64 stamped;
	__u64 latency_sum; /* nanoseconds */
	__u64 latency_least;
	__u64 latency_greatest;
};

/* One stream at the traffic sink, on a cache line of its own. */
struct sluice_stream {
	__u64 missing; /* sequence numbers skipped; those that come after all are in `late` too */
	__u64 late; /* behind a frame that was sent after them */
	__u32 next_sequence;
	__u32 is_known; /* boolean: a frame of it came */
	__u64 reserved[5];
};

_Static_assert(sizeof(struct sluice_stamp) == 16, "ABI");
_Static_assert(sizeof(struct sluice_stream) == 64, "ABI");
_Static_assert(__builtin_offsetof(struct sluice_transmit, queue) == 128, "ABI");
_Static_assert(sizeof(struct sluice_receiver_rings) == 192, "ABI");
_Static_assert(__builtin_offsetof(struct sluice_receiver_rings, fill_consumer) == 64, "ABI");
_Static_assert(__builtin_offsetof(struct sluice_receiver_rings, no_frame) == 128, "ABI");

/* Packets that one run of sluice_probe classifies over and over: a power of two. */
#define SLUICE_SAMPLES_MAX 65536
#define SLUICE_SAMPLE_BYTES 128

/* How a sample begins. */
struct sluice_sample {
	__u32 action; /* enum sluice_action: what the last run came to */
	__u32 slot;
	__u32 malformed; /* enum sluice_malformed: then it is not classified */
	__u32 frame_bytes;
};

/* What the next run does: `count` samples from `first` on, after `mask` + 1 of them again from there. */
struct sluice_probe {
	__u32 first;
	__u32 mask;
	__u32 count;
	__u32 is_empty; /* boolean: all but classifying and counting */
};

#endif
