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

#include "sluice_sets_abi.h"

#define SLUICE_ABI_VERSION 9

/*
 * Bounds of a walk through a cut tree: steps (nodes, and groups of four records), and residual subtrees that wait at a
 * time, one slot of them for the end. No tree goes live that is not proven to stay below.
 */
#define SLUICE_STEPS_MAX 1024
#define SLUICE_PENDING_SLOTS 16
/*
 * Steps of one call of a walk function, most walks need one call; and how often the calls that a packet needs go round: once
 * each, and once for each rule that it passes because that only counts.
 */
#define SLUICE_STEPS_PER_CALL 16
#define SLUICE_CALLS_MAX 2048
/* Rules with the action `count` in one rule set: a packet can pass every one of them. */
#define SLUICE_COUNT_RULES_MAX 255
/* Places that rules which leave a chain go on at: there are no more than such rules. */
#define SLUICE_RESUMES_MAX 256
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
	SLUICE_ACTION_RESUME = 5, /* count and go on behind a priority: a chain is left */
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
 * A generation is a struct sluice_generation, then trees. There are two places for one: each half of the tables has one behind
 * its header. All indices in a generation count words from the begin of its half.
 */
#define SLUICE_TABLES_HEADER_BYTES 128

/* What a slot of a tree is, bits 42 ... 44. A slot that is 0 there is empty. */
#define SLUICE_SLOT_LEAF 1 /* bits 0 ... 26: word index of the first record / 4, 27 ... 34: count */
#define SLUICE_SLOT_CUT 2 /* bits 0 ... 26: word index of child 0, 27 ... 29: word of the key, 30 ... 35: shift, 36 ... 40: bits */
#define SLUICE_SLOT_SHORT_LEAF 3 /* as a leaf, of short records; only where addresses are of IPv4 */
/* In a cut: the word before child 0 is the slot of the residual subtree. */
#define SLUICE_SLOT_RESIDUAL (1ULL << 41)
/* Bits 48 ... 63 of a slot: at most the top bits of the best priority below it; this for an empty one. */
#define SLUICE_SLOT_EMPTY (0xffffULL << 48)

/* Records of a leaf at most. */
#define SLUICE_LEAF_RECORDS_MAX 252

/*
 * Lanes of a range word, 21 bits each: 0 source port or ICMP type, 1 destination port or ICMP code, 2 length of the IP
 * datagram. Lanes that a packet doesn't show have SLUICE_NO_PORT. Bit 20 of each lane is the guard of the comparison.
 */
#define SLUICE_LANE_BITS 21
#define SLUICE_LANE_GUARDS 0x4000020000100000ULL

/*
 * Label: priority << 32 | what the rule does. Less is better; priorities are greater than 0, their top half is below that of
 * an empty slot and of SLUICE_LABEL_NONE at most.
 */
#define SLUICE_LABEL_SLOT 0 /* 17 bits: counter slot, below SLUICE_SLOTS_MAX; 0: not counted, and resumes */
#define SLUICE_LABEL_ACTION 20 /* 3 bits: enum sluice_action */
#define SLUICE_LABEL_TARGET 24 /* of SLUICE_ACTION_REDIRECT, 6 bits: index into the generation's targets; of RESUME, 8: into its resumes */
#define SLUICE_LABEL_NONE 0xfffeffffffffffffULL
#define SLUICE_LABEL_BROKEN 0xfffefffffffffffeULL
#define SLUICE_PRIORITY_MAX 0xfffe0000u

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
	SLUICE_FEATURE_COUNT = 16, /* rules that count and let the packet go on */
	/* Large sets of the source's or the destination's address. What records ask of them stands in link records. */
	SLUICE_FEATURE_SOURCE_SETS = 32,
	SLUICE_FEATURE_DESTINATION_SETS = 64,
	SLUICE_FEATURE_ELEMENT_COUNTERS = 128, /* a rule names a set whose elements count */
};

/* Matches where `(key ^ value) & mask` is 0. Bits of the value outside of the mask are 0. */
struct sluice_ternary {
	__u64 value;
	__u64 mask;
};

/* Key: 0 source << 32 | destination, 1 lanes, 2 header; 3 and 4 are the program's own. Also for packets that are no IP, whose addresses are 0. */
struct sluice_record_ipv4 {
	struct sluice_ternary addresses;
	__u64 low; /* lanes */
	__u64 guarded_high; /* lanes, with all guard bits set */
	struct sluice_ternary header;
	__u64 label;
	__u64 link; /* word index / 8 of a struct sluice_record_link; read where the program has a feature of it */
};

/*
 * The record of a rule that asks for prefixes, ports, and what the short header shows, which are most rules. Half the size
 * is half the cache: that counts more than the arithmetic.
 */
struct sluice_short_ipv4 {
	__u64 addresses;
	__u64 ports; /* from the low end, 16 bits each: source from, source to, destination from, destination to */
	/* 24 bits value, 24 mask, 6 low bits of the source that are any, 6 of the destination. */
	__u64 header;
	__u64 label;
};

/* The short header: the low 16 bits of the header word, five from SLUICE_HEADER_FRAGMENT on, and this. */
#define SLUICE_SHORT_FRAGMENT 16
#define SLUICE_SHORT_NO_PORTS 21 /* the packet shows no ports, nor a type and code */
#define SLUICE_SHORT_HEADER_BITS 24
#define SLUICE_SHORT_SOURCE_SHIFT 48
#define SLUICE_SHORT_DESTINATION_SHIFT 54
/* Guards of the ports' comparison, which are in lanes of 32 bits for it. */
#define SLUICE_SHORT_GUARDS 0x8000000080000000ULL

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

/* What a record asks of the words 6 and 7, and of large sets: bits of the source's, above them the destination's. */
struct sluice_record_link {
	struct sluice_ternary destination;
	struct sluice_ternary source;
	struct sluice_ternary sets;
	__u64 reserved[2];
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
	__u32 targets[SLUICE_REDIRECT_TARGETS_MAX]; /* interface indices: keys in the devmap */
	__u32 resumes[SLUICE_RESUMES_MAX]; /* priorities, behind which a packet goes on */
	__u32 sets; /* word index / 8 of a struct sluice_sets, where rules have a feature of large sets */
	__u32 counted; /* word index / 8 of a struct sluice_counted, where elements count */
	__u32 counted_slots; /* words behind it */
	__u32 counted_elements; /* of sets that count: the program must have at least so many counters */
	__u32 reserved2[12];
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
	/* enum sluice_feature: what is read from packets. */
	__u32 features;
	/* The kernel's verifier (before 6.3) wants the program to write all of its stack that it may read. */
	__u32 zeroes_stack;
	/* Packets may go to programs in `receivers`. */
	__u32 has_receivers;
	__u32 reserved;
	/* Bytes of one half of the tables, a power of two. */
	__u64 half;
	/* The same less 8, 32, 64 and 128: keep accesses of so many bytes inside the half. */
	__u64 mask_8, mask_32, mask_64, mask_128;
};

_Static_assert(sizeof(struct sluice_counter) == 16, "ABI");
_Static_assert(sizeof(struct sluice_record_ipv4) == 64, "ABI");
_Static_assert(sizeof(struct sluice_record_ipv6) == 128, "ABI");
_Static_assert(sizeof(struct sluice_record_link) == 64, "ABI");
_Static_assert(sizeof(struct sluice_short_ipv4) == 32, "ABI");
_Static_assert(sizeof(struct sluice_generation) == 1408, "ABI");
_Static_assert(sizeof(struct sluice_constants) == 64, "ABI");
_Static_assert(sizeof(struct sluice_metadata) == 16, "ABI");
_Static_assert(sizeof(struct sluice_path) == 8, "ABI");
_Static_assert(sizeof(struct sluice_decision) == 24, "ABI");

#include "sluice_traffic_abi.h"

#endif
