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

#define SLUICE_ABI_VERSION 2

/* Compiled entries in one generation. A rule with lists becomes one entry per combination. */
#define SLUICE_ENTRIES_MAX 1024
/* Counter slots of one interface: slot 0 is the default action, the others belong to rule identities. */
#define SLUICE_SLOTS_MAX 4096
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
	SLUICE_COUNTER_MALFORMED = 10, /* base: MALFORMED + enum sluice_malformed */
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

/* Families an entry matches, bits. SLUICE_FAMILY_OTHER is everything that is not IP (ARP, LLDP, a third VLAN tag). */
#define SLUICE_FAMILY_IPV4 1
#define SLUICE_FAMILY_IPV6 2
#define SLUICE_FAMILY_OTHER 4

/* A packet without ports has this for both; an entry that asks for no port has a range that includes it. */
#define SLUICE_NO_PORT 0x10000
#define SLUICE_ANY_PORT_LOW 0
#define SLUICE_ANY_PORT_HIGH SLUICE_NO_PORT

struct sluice_counter {
	__u64 packets;
	__u64 bytes; /* frame length without FCS, as the XDP program sees it */
};

/*
 * One compiled entry. It matches where every test below yields zero or is in range; the tests are made so that the
 * program needs no branch between them.
 *
 * Addresses: IPv4 in the low 4 bytes of word 0 in memory order, the rest zero; IPv6 fills both words.
 * `(packet & mask) ^ value` must be 0 on both words. A rule without prefixes has zero masks and values.
 */
struct sluice_entry {
	__u64 source_value[2];
	__u64 source_mask[2];
	__u64 destination_value[2];
	__u64 destination_mask[2];
	__u32 source_port_low; /* host order; low <= port <= high, see SLUICE_NO_PORT */
	__u32 source_port_high;
	__u32 destination_port_low;
	__u32 destination_port_high;
	__u32 slot; /* counter slot of the rule, 1 ..< SLUICE_SLOTS_MAX */
	__u32 redirect_ifindex; /* for SLUICE_ACTION_REDIRECT: key in the devmap */
	__u32 next; /* after SLUICE_ACTION_COUNT: index of the first entry of the next rule */
	__u8 families_excluded; /* SLUICE_FAMILY_* bits; `excluded & family` must be 0 */
	__u8 protocol; /* `(protocol of the packet & mask) ^ protocol` must be 0 */
	__u8 protocol_mask; /* 0xff, or 0 for any; an entry with a protocol excludes SLUICE_FAMILY_OTHER */
	__u8 action; /* enum sluice_action */
};

/* One generation: everything that decides about packets. Immutable once published. */
struct sluice_generation {
	__u32 abi_version;
	__u32 entry_count;
	__u64 generation;
	__u8 default_action; /* pass or drop */
	__u8 capture_fallback; /* pass or drop */
	__u8 reserved[6];
	__u8 malformed_action[16]; /* pass or drop, by enum sluice_malformed */
	struct sluice_entry entries[SLUICE_ENTRIES_MAX];
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
};

/* The same for the traffic generator. */
struct sluice_generator_constants {
	__u32 frame_count;
	/* The ingress interface that marks a run; a packet received by the attached program has another. */
	__u32 marker_ifindex;
};

/* What the traffic generator counts, in `.data.sluice`. */
struct sluice_generator_state {
	__u32 next; /* frame to send */
	__u32 reserved;
	__u64 redirected; /* handed to the output interface, which may still drop them */
	__u64 failed; /* could not be built */
};

/* The traffic generator's frames: bytes of the longest, and how many there can be. */
#define SLUICE_GENERATOR_FRAME_BYTES 2044
#define SLUICE_GENERATOR_FRAMES_MAX 65536

_Static_assert(sizeof(struct sluice_counter) == 16, "ABI");
_Static_assert(sizeof(struct sluice_entry) == 96, "ABI");
_Static_assert(__builtin_offsetof(struct sluice_generation, entries) == 40, "ABI");
_Static_assert(sizeof(struct sluice_generation) == 40 + 96 * SLUICE_ENTRIES_MAX, "ABI");
_Static_assert(sizeof(struct sluice_metadata) == 16, "ABI");
_Static_assert(sizeof(struct sluice_path) == 8, "ABI");
_Static_assert(sizeof(struct sluice_decision) == 24, "ABI");

#endif
