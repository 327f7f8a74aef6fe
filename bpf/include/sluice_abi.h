/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the XDP program and Swift share, defined once. Swift imports this header as the module CSluiceABI; the XDP
 * program includes it. Every struct is laid out without implicit padding, and its size and offsets are asserted.
 *
 * Byte order: addresses are kept as they stand in the packet (network order, loaded as 64-bit words of the host);
 * every other number is in host order.
 */
#ifndef SLUICE_ABI_H
#define SLUICE_ABI_H

#include <linux/types.h>

#define SLUICE_ABI_VERSION 4

/*
 * Bounds of a walk through a cut tree: steps (nodes, and groups of four records), and residual subtrees that wait at a
 * time, one slot of them for the end. No tree goes live that is not proven to stay below.
 */
#define SLUICE_STEPS_MAX 1024
#define SLUICE_PENDING_SLOTS 16
/* Rules with the action `count` in one rule set: a packet can pass every one of them. */
#define SLUICE_COUNT_RULES_MAX 255
/* Bytes of an interface's tables: powers of two. */
#define SLUICE_TABLES_BYTES_MIN (1 << 20)
#define SLUICE_TABLES_BYTES_MAX (1 << 30)
/* Counter slots of one interface, powers of two: slot 0 is the default action, the others belong to rule identities. */
#define SLUICE_SLOTS_MIN 4096
#define SLUICE_SLOTS_MAX 131072
#define SLUICE_SLOT_DEFAULT 0
/* Receive queues of one interface that can hand packets to AF_XDP. */
#define SLUICE_QUEUES_MAX 256
/* Interfaces that one interface can redirect to. */
#define SLUICE_REDIRECT_TARGETS_MAX 64
/* VLAN tags that are parsed; a third tag makes the packet "not IP". */
#define SLUICE_VLAN_TAGS_MAX 2
/* IPv6 extension headers that are walked; one more makes the packet malformed. */
#define SLUICE_IPV6_EXTENSIONS_MAX 8

/* What a rule does. The values are ABI: they also stand in the state file. */
enum sluice_action {
	SLUICE_ACTION_PASS = 0,
	SLUICE_ACTION_DROP = 1,
	SLUICE_ACTION_COUNT = 2, /* count and go on with the next rule */
	SLUICE_ACTION_CAPTURE = 3, /* hand to AF_XDP; sluice_generation.capture_fallback where no socket takes it */
	SLUICE_ACTION_REDIRECT = 4,
};

/* Why a packet is malformed. The index into sluice_generation.malformed_action. */
enum sluice_malformed {
	SLUICE_MALFORMED_NONE = 0,
	SLUICE_MALFORMED_TRUNCATED_ETHERNET = 1,
	SLUICE_MALFORMED_TRUNCATED_VLAN = 2,
	SLUICE_MALFORMED_TRUNCATED_IPV4 = 3,
	SLUICE_MALFORMED_BAD_IPV4 = 4, /* version, header length or total length contradict the packet */
	SLUICE_MALFORMED_TRUNCATED_IPV6 = 5,
	SLUICE_MALFORMED_BAD_IPV6 = 6, /* version or payload length contradict the packet */
	SLUICE_MALFORMED_TRUNCATED_EXTENSION = 7,
	SLUICE_MALFORMED_TOO_MANY_EXTENSIONS = 8,
	SLUICE_MALFORMED_TRUNCATED_TRANSPORT = 9, /* TCP, UDP, ICMP or ICMPv6 header cut short */
	SLUICE_MALFORMED_BAD_TCP = 10, /* data offset below 5 words or beyond the segment */
	SLUICE_MALFORMED_BAD_UDP = 11, /* length below 8 or beyond the datagram */
	SLUICE_MALFORMED_REASONS = 12,
};

/*
 * Counters of an interface. The first five are what became of packets: every packet that the program sees is
 * counted in exactly one of them. The others explain, and overlap with the first five.
 */
enum sluice_interface_counter {
	SLUICE_COUNTER_PASS = 0, /* to the stack */
	SLUICE_COUNTER_DROP = 1,
	SLUICE_COUNTER_CAPTURE = 2, /* handed to an AF_XDP socket's queue */
	SLUICE_COUNTER_REDIRECT = 3,
	SLUICE_COUNTER_FORWARD = 4, /* along the interface's path, to user space or to the peer */
	SLUICE_COUNTER_CAPTURE_FALLBACK = 5, /* a capture rule matched and no socket was bound to the queue */
	SLUICE_COUNTER_REDIRECT_FAILED = 6, /* the target interface is gone: dropped */
	SLUICE_COUNTER_NO_GENERATION = 7, /* nothing published yet: passed */
	SLUICE_COUNTER_FORWARD_FAILED = 8, /* the path's peer is gone: dropped */
	SLUICE_COUNTER_FORWARD_FALLBACK = 9, /* a path to user space without a socket: went on as if it led to the peer */
	SLUICE_COUNTER_BROKEN_WALK = 10, /* a bound of the classifier was hit: dropped; a defect of the tables */
	SLUICE_COUNTER_MALFORMED = 11, /* base: MALFORMED + enum sluice_malformed */
	SLUICE_COUNTERS = SLUICE_COUNTER_MALFORMED + SLUICE_MALFORMED_REASONS,
};

/* Where the packets go that the rules pass: the interface's path. */
enum sluice_path_kind {
	SLUICE_PATH_STACK = 0,
	SLUICE_PATH_FORWARD = 1, /* out of the peer */
	SLUICE_PATH_USER = 2, /* to the queue's AF_XDP socket; where there is none, out of the peer, without one to the stack */
};

/* The one value of the map `path`. Changed in place: no two states in turn differ in both fields. */
struct sluice_path {
	__u32 kind; /* enum sluice_path_kind */
	__u32 peer_ifindex; /* key in the devmap; 0: none */
};

/* Families of packets. SLUICE_FAMILY_OTHER is everything that is not IP (ARP, LLDP, a third VLAN tag). */
#define SLUICE_FAMILY_IPV4 1
#define SLUICE_FAMILY_IPV6 2
#define SLUICE_FAMILY_OTHER 4

/* A packet without ports has this for both; a record that asks for no port has a range that includes it. */
#define SLUICE_NO_PORT 0x10000

struct sluice_counter {
	__u64 packets;
	__u64 bytes; /* frame length without FCS, as the XDP program sees it */
};

/*
 * Tables: words of 64 bits in an array that user space has mapped. The header takes SLUICE_TABLES_HEADER_BYTES; its first
 * word is the byte offset of the live generation, a multiple of that size, 0 while there is none.
 *
 * A generation is a struct sluice_generation, then the struct sluice_rule of its rules, then trees. All indices in it
 * count words from its begin.
 */
#define SLUICE_TABLES_HEADER_BYTES 128

/* What a slot of a tree is, bits 42 ... 44. A slot that is 0 there is empty. */
#define SLUICE_SLOT_LEAF 1 /* bits 0 ... 26: word index of the first record / 8, 27 ... 34: count */
#define SLUICE_SLOT_CUT 2 /* bits 0 ... 26: word index of child 0, 27 ... 29: word of the key, 30 ... 35: shift, 36 ... 40: bits */
/* In a cut: the word before child 0 is the slot of the residual subtree. */
#define SLUICE_SLOT_RESIDUAL (1ULL << 41)
/* Bits 48 ... 63 of a slot: the top bits of the best priority below it; this for an empty one. */
#define SLUICE_SLOT_EMPTY (0xffffULL << 48)

/* Records of a leaf at most. */
#define SLUICE_LEAF_RECORDS_MAX 252

/*
 * Lanes of a range word, 21 bits each: 0 source port or ICMP type, 1 destination port or ICMP code, 2 length of the IP
 * datagram. Lanes that a packet doesn't show have SLUICE_NO_PORT. Bit 20 of each lane is the guard of the comparison.
 */
#define SLUICE_LANE_BITS 21
#define SLUICE_LANE_GUARDS 0x4000020000100000ULL

/* Label: priority << 32 | index of the rule. Less is better; priorities are greater than 0. */
#define SLUICE_LABEL_NONE 0xffffffffffffffffULL
#define SLUICE_LABEL_BROKEN 0xfffffffffffffffeULL

/*
 * The header word: bit of each field's begin. What the packet doesn't show is 0, and so is what the program was not loaded
 * for (enum sluice_feature).
 */
#define SLUICE_HEADER_PROTOCOL 0 /* 8 bits */
#define SLUICE_HEADER_TCP_FLAGS 8 /* 8 */
#define SLUICE_HEADER_TRAFFIC_CLASS 16 /* 8: DSCP, ECN */
#define SLUICE_HEADER_HOP_LIMIT 24 /* 8 */
#define SLUICE_HEADER_FRAGMENT 32 /* 1: a fragment, the first too */
#define SLUICE_HEADER_LATER_FRAGMENT 33 /* 1 */
#define SLUICE_HEADER_OPTIONS 34 /* 1: IPv4 options, or an IPv6 extension header other than Fragment */
#define SLUICE_HEADER_VLAN 35 /* 1: a tag */
#define SLUICE_HEADER_INNER_VLAN 36 /* 1: a second tag */
#define SLUICE_HEADER_VLAN_PRIORITY 37 /* 3, of the outer tag */
#define SLUICE_HEADER_VLAN_ID 40 /* 12, of the outer tag */
#define SLUICE_HEADER_INNER_VLAN_ID 52 /* 12 */

/* Words 6 and 7 of the key: link layer, and what had no place elsewhere. */
#define SLUICE_LINK_DESTINATION 16 /* word 6, 48 bits */
#define SLUICE_LINK_TYPE 0 /* word 6, 16 bits: of no IP the ethertype, of IPv6 the flow label's low bits */
#define SLUICE_LINK_SOURCE 16 /* word 7, 48 bits */
#define SLUICE_LINK_QUEUE 8 /* word 7, 8 bits */
#define SLUICE_LINK_INNER_PRIORITY 5 /* word 7, 3 bits */
#define SLUICE_LINK_FLOW_LABEL 1 /* word 7, 4 bits: the flow label's high bits */
#define SLUICE_LINK_ACCURATE_ECN 0 /* word 7, 1 bit: TCP's ninth flag */

/* What a generation's rules look at beside addresses, protocol, ports and length: what its program must read. */
enum sluice_feature {
	SLUICE_FEATURE_HEADER = 1, /* traffic class, hop limit, fragments, options */
	SLUICE_FEATURE_TCP_FLAGS = 2,
	SLUICE_FEATURE_VLAN = 4,
	SLUICE_FEATURE_LINK = 8, /* words 6 and 7 */
};

/* Matches where `(key ^ value) & mask` is 0. Bits of the value outside of the mask are 0. */
struct sluice_ternary {
	__u64 value;
	__u64 mask;
};

/* Key: 0 source << 32 | destination, 1 lanes, 2 header. Also for packets that are no IP, whose addresses are 0. */
struct sluice_record_ipv4 {
	struct sluice_ternary addresses;
	__u64 low; /* lanes */
	__u64 guarded_high; /* lanes, with all guard bits set */
	struct sluice_ternary header;
	__u64 label;
	__u64 link; /* word index / 4 of a struct sluice_record_link; read where the program has SLUICE_FEATURE_LINK */
};

/* Key: 0 and 2 source, 1 and 3 destination, high half first, in host order; 4 lanes, 5 header. */
struct sluice_record_ipv6 {
	struct sluice_ternary source_high;
	struct sluice_ternary destination_high;
	__u64 low;
	__u64 guarded_high;
	__u64 label;
	__u64 link; /* as above */
	struct sluice_ternary source_low;
	struct sluice_ternary destination_low;
	struct sluice_ternary header;
	__u64 reserved[2];
};

/* What a record asks of the words 6 and 7. */
struct sluice_record_link {
	struct sluice_ternary destination;
	struct sluice_ternary source;
};

/* A rule's record, by its index in the generation. */
struct sluice_rule {
	__u32 slot; /* counter slot, 1 ..< SLUICE_SLOTS_MAX */
	__u32 redirect_ifindex; /* for SLUICE_ACTION_REDIRECT: key in the devmap */
	__u8 action; /* enum sluice_action */
	__u8 reserved[7];
};

enum sluice_tree {
	SLUICE_TREE_IPV4 = 0,
	SLUICE_TREE_IPV6 = 1,
	SLUICE_TREE_OTHER = 2,
	SLUICE_TREES = 3,
};

/* One generation: everything that decides about packets. */
struct sluice_generation {
	__u32 abi_version;
	__u32 rule_count;
	__u64 generation;
	__u64 roots[SLUICE_TREES]; /* slots */
	__u8 default_action; /* pass or drop */
	__u8 capture_fallback; /* pass or drop */
	__u8 features; /* of enum sluice_feature: the program must have at least these */
	__u8 reserved;
	__u32 slot_count; /* above the highest slot of its rules: the program must have at least so many counters */
	__u8 malformed_action[16]; /* pass or drop, by enum sluice_malformed */
};

/*
 * Metadata in front of a packet that goes to an AF_XDP socket (bpf_xdp_adjust_meta): it ends where the packet begins. A
 * reader checks `magic` and then clears it, because the kernel leaves stale bytes in a frame whose driver has no metadata.
 */
#define SLUICE_METADATA_MAGIC 0x65636975u /* a capture rule matched */
#define SLUICE_METADATA_FORWARD 0x65636976u /* the rules pass it, and the path leads to user space */
struct sluice_metadata {
	__u32 magic;
	__u32 slot; /* rule that decided; SLUICE_SLOT_DEFAULT for the default action and malformed packets */
	__u64 timestamp; /* captured: CLOCK_MONOTONIC, nanoseconds, when the program ran; forwarded: 0, no clock is read */
};

/* What the self-test instance of the program writes about the packet it decided last. */
struct sluice_decision {
	__u32 action; /* enum sluice_action: what the rules say, before fallbacks; never COUNT */
	__u32 slot; /* deciding rule's slot; SLUICE_SLOT_DEFAULT for the default action and for malformed packets */
	__u32 malformed; /* enum sluice_malformed */
	__u32 reserved;
	__u64 generation;
};

/* Set before load, in `.rodata.sluice`, and constant for the verifier, which removes the branches not taken. */
struct sluice_constants {
	/*
	 * The kernel has xdp.frags (5.18): the program is loaded with BPF_F_XDP_HAS_FRAGS and asks for the whole length.
	 */
	__u32 has_frags;
	/* The self-test instance: writes each decision to the map `decision`. Never set in an attached program. */
	__u32 record_decisions;
	/* Bytes of the tables less 1: keeps every index inside them. */
	__u32 tables_mask;
	/* enum sluice_feature: what is read from packets. */
	__u32 features;
};

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
	__u64 unstamped; /* stamps are measured, and the frame has none */
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

_Static_assert(sizeof(struct sluice_counter) == 16, "ABI");
_Static_assert(sizeof(struct sluice_record_ipv4) == 64, "ABI");
_Static_assert(sizeof(struct sluice_record_ipv6) == 128, "ABI");
_Static_assert(sizeof(struct sluice_record_link) == 32, "ABI");
_Static_assert(sizeof(struct sluice_rule) == 16, "ABI");
_Static_assert(sizeof(struct sluice_generation) == 64, "ABI");
_Static_assert(sizeof(struct sluice_metadata) == 16, "ABI");
_Static_assert(sizeof(struct sluice_path) == 8, "ABI");
_Static_assert(sizeof(struct sluice_decision) == 24, "ABI");
_Static_assert(sizeof(struct sluice_stamp) == 16, "ABI");
_Static_assert(sizeof(struct sluice_stream) == 64, "ABI");
_Static_assert(__builtin_offsetof(struct sluice_transmit, queue) == 128, "ABI");

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
