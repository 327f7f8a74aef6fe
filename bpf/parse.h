/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packet -> what rules match on. Sources/Packets/PacketParser.swift says the same in Swift and is the reference: both
 * must agree on any input, and a test holds them together.
 *
 * Two limits bound every header: the end of the linear data (what may be touched) and the end of the IP datagram (what
 * belongs to it; Ethernet padding does not).
 */
#ifndef SLUICE_PARSE_H
#define SLUICE_PARSE_H

#include "program.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100 /* IEEE 802.1Q customer tag */
#define ETHERTYPE_SERVICE_VLAN 0x88a8 /* IEEE 802.1ad service tag */
#define ETHERTYPE_OLD_SERVICE_VLAN 0x9100 /* before 802.1ad */

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_MOBILITY 135
#define PROTOCOL_HIP 139
#define PROTOCOL_SHIM6 140

#define ETHERNET_HEADER 14
#define VLAN_TAG 4
#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define TCP_HEADER 20
#define UDP_HEADER 8
#define ICMP_HEADER 4

/* No header starts beyond this: bounds the verifier's offsets. 14 + 2*4 + 40 + 8 extensions of at most 2048. */
#define OFFSET_MAX 0x7fff

struct packet {
	__u64 source[2];
	__u64 destination[2];
	__u64 header; /* fields of the header word but the protocol */
	__u64 link[2]; /* words 6 and 7 of the key but for the flow label */
	__u32 source_port; /* host order, or ICMP type, or SLUICE_NO_PORT */
	__u32 destination_port; /* host order, or ICMP code, or SLUICE_NO_PORT */
	__u32 length; /* of the IP datagram, or SLUICE_NO_PORT */
	__u32 flow_label;
	__u8 family; /* SLUICE_FAMILY_* */
	__u8 protocol; /* final protocol of IP; 0 for SLUICE_FAMILY_OTHER */
};

/* Where the parser stands. */
struct cursor {
	__u32 offset; /* next byte to read */
	__u32 datagram_end; /* offset behind the IP datagram */
	__u32 first_fragment; /* boolean */
	__u32 jumbogram; /* boolean */
};

/* `size` bytes at the cursor, or NULL where the linear data ends before. */
static __always_inline void *bytes_at(const struct xdp_md *ctx, const struct cursor *c, __u32 size)
{
	void *header;

	if (c->offset > OFFSET_MAX)
		return 0;
	header = packet_data(ctx) + c->offset;
	if (header + size > packet_end(ctx))
		return 0;
	return header;
}

static __always_inline __u32 datagram_left(const struct cursor *c)
{
	return c->offset <= c->datagram_end ? c->datagram_end - c->offset : 0;
}

static __always_inline _Bool is_vlan(__u16 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN ||
	       ethertype == ETHERTYPE_OLD_SERVICE_VLAN;
}

/* TCP, UDP, ICMP: the checks that make ports and types readable. Not for later fragments. */
static __always_inline int parse_transport(const struct xdp_md *ctx, const struct cursor *c, struct packet *p)
{
	__u32 left = datagram_left(c);
	__u8 *header;

	switch (p->protocol) {
	case PROTOCOL_TCP: {
		__u32 data_offset;

		header = bytes_at(ctx, c, TCP_HEADER);
		if (left < TCP_HEADER || !header)
			return SLUICE_MALFORMED_TRUNCATED_TRANSPORT;
		data_offset = (header[12] >> 4) * 4;
		if (data_offset < TCP_HEADER || data_offset > left)
			return SLUICE_MALFORMED_BAD_TCP;
		if (reads(SLUICE_FEATURE_TCP_FLAGS))
			p->header |= (__u64)header[13] << SLUICE_HEADER_TCP_FLAGS;
		if (reads(SLUICE_FEATURE_LINK))
			p->link[1] |= (header[12] & 1) << SLUICE_LINK_ACCURATE_ECN;
		break;
	}
	case PROTOCOL_UDP: {
		__u32 length;

		header = bytes_at(ctx, c, UDP_HEADER);
		if (left < UDP_HEADER || !header)
			return SLUICE_MALFORMED_TRUNCATED_TRANSPORT;
		length = bpf_ntohs(*(__u16 *)(header + 4));
		if (length == 0 && c->jumbogram) /* RFC 2675 section 4 */
			break;
		if (length < UDP_HEADER || (length > left && !c->first_fragment))
			return SLUICE_MALFORMED_BAD_UDP;
		break;
	}
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		header = bytes_at(ctx, c, ICMP_HEADER);
		if (left < ICMP_HEADER || !header)
			return SLUICE_MALFORMED_TRUNCATED_TRANSPORT;
		p->source_port = header[0];
		p->destination_port = header[1];
		return SLUICE_MALFORMED_NONE;
	default:
		return SLUICE_MALFORMED_NONE;
	}
	p->source_port = bpf_ntohs(*(__u16 *)header);
	p->destination_port = bpf_ntohs(*(__u16 *)(header + 2));
	return SLUICE_MALFORMED_NONE;
}

/* RFC 791 section 3.1. */
static __always_inline int parse_ipv4(const struct xdp_md *ctx, struct cursor *c, struct packet *p,
				      __u32 frame_bytes)
{
	__u8 *header = bytes_at(ctx, c, IPV4_HEADER);
	__u32 header_length, total_length;
	__u16 fragment;

	if (!header)
		return SLUICE_MALFORMED_TRUNCATED_IPV4;
	header_length = (header[0] & 0xf) * 4;
	if (header[0] >> 4 != 4 || header_length < IPV4_HEADER)
		return SLUICE_MALFORMED_BAD_IPV4;
	if (c->offset + header_length > frame_bytes)
		return SLUICE_MALFORMED_TRUNCATED_IPV4;
	total_length = bpf_ntohs(*(__u16 *)(header + 2));
	if (total_length < header_length || c->offset + total_length > frame_bytes)
		return SLUICE_MALFORMED_BAD_IPV4;

	p->family = SLUICE_FAMILY_IPV4;
	p->protocol = header[9];
	p->source[0] = *(__u32 *)(header + 12);
	p->destination[0] = *(__u32 *)(header + 16);
	p->length = total_length;
	fragment = bpf_ntohs(*(__u16 *)(header + 6));
	if (reads(SLUICE_FEATURE_HEADER))
		p->header |= (__u64)header[1] << SLUICE_HEADER_TRAFFIC_CLASS |
			     (__u64)header[8] << SLUICE_HEADER_HOP_LIMIT |
			     (__u64)((fragment & 0x3fff) != 0) << SLUICE_HEADER_FRAGMENT |
			     (__u64)((fragment & 0x1fff) != 0) << SLUICE_HEADER_LATER_FRAGMENT |
			     (__u64)(header_length > IPV4_HEADER) << SLUICE_HEADER_OPTIONS;
	if (fragment & 0x1fff)
		return SLUICE_MALFORMED_NONE;
	c->first_fragment = (fragment & 0x2000) != 0;
	c->datagram_end = c->offset + total_length;
	c->offset += header_length;
	return parse_transport(ctx, c, p);
}

static __always_inline _Bool is_extension(__u8 protocol)
{
	return protocol == PROTOCOL_HOP_BY_HOP || protocol == PROTOCOL_ROUTING || protocol == PROTOCOL_FRAGMENT ||
	       protocol == PROTOCOL_AH || protocol == PROTOCOL_DESTINATION_OPTIONS ||
	       protocol == PROTOCOL_MOBILITY || protocol == PROTOCOL_HIP || protocol == PROTOCOL_SHIM6;
}

/* What one extension header came to. */
enum extension {
	EXTENSION_NEXT, /* the cursor stands at the next header, p->protocol says which */
	EXTENSION_LATER_FRAGMENT, /* nothing of the payload can be read */
	EXTENSION_TRUNCATED,
};

/*
 * One extension header, RFC 8200 section 4. A global function: the verifier checks it once, and forgets what it knew of
 * the cursor, so that it doesn't follow every combination of eight headers.
 */
__noinline int parse_extension(struct xdp_md *ctx, struct cursor *c, struct packet *p)
{
	__u8 *header, protocol;
	__u32 length;

	if (!c || !p)
		return EXTENSION_TRUNCATED;
	header = bytes_at(ctx, c, 8);
	if (datagram_left(c) < 8 || !header)
		return EXTENSION_TRUNCATED;
	protocol = p->protocol;
	p->protocol = header[0];
	if (reads(SLUICE_FEATURE_HEADER) && protocol != PROTOCOL_FRAGMENT)
		p->header |= 1ULL << SLUICE_HEADER_OPTIONS;
	if (protocol == PROTOCOL_FRAGMENT) {
		__u16 fragment = bpf_ntohs(*(__u16 *)(header + 2));

		if (reads(SLUICE_FEATURE_HEADER))
			p->header |= (__u64)((fragment & 0xfff9) != 0) << SLUICE_HEADER_FRAGMENT |
				     (__u64)((fragment & 0xfff8) != 0) << SLUICE_HEADER_LATER_FRAGMENT;
		if (fragment & 0xfff8)
			return EXTENSION_LATER_FRAGMENT;
		c->first_fragment |= fragment & 1;
		length = 8;
	} else if (protocol == PROTOCOL_AH) {
		length = (header[1] + 2) * 4; /* RFC 4302 section 2.2 */
	} else {
		length = (header[1] + 1) * 8;
	}
	if (length > datagram_left(c))
		return EXTENSION_TRUNCATED;
	c->offset += length;
	return EXTENSION_NEXT;
}

/* RFC 8200 section 3. */
static __always_inline int parse_ipv6(struct xdp_md *ctx, struct cursor *c, struct packet *p, __u32 frame_bytes)
{
	__u8 *header = bytes_at(ctx, c, IPV6_HEADER);
	__u32 payload_length;

	if (!header)
		return SLUICE_MALFORMED_TRUNCATED_IPV6;
	if (header[0] >> 4 != 6)
		return SLUICE_MALFORMED_BAD_IPV6;
	payload_length = bpf_ntohs(*(__u16 *)(header + 4));
	p->protocol = header[6];
	p->source[0] = *(__u64 *)(header + 8);
	p->source[1] = *(__u64 *)(header + 16);
	p->destination[0] = *(__u64 *)(header + 24);
	p->destination[1] = *(__u64 *)(header + 32);
	p->family = SLUICE_FAMILY_IPV6;
	p->flow_label = bpf_ntohl(*(__u32 *)header) & 0xfffff;
	if (reads(SLUICE_FEATURE_HEADER))
		p->header |= (__u64)(bpf_ntohs(*(__u16 *)header) >> 4 & 0xff) << SLUICE_HEADER_TRAFFIC_CLASS |
			     (__u64)header[7] << SLUICE_HEADER_HOP_LIMIT;
	p->length = IPV6_HEADER + payload_length;
	c->offset += IPV6_HEADER;
	if (payload_length == 0 && p->protocol == PROTOCOL_HOP_BY_HOP) {
		c->jumbogram = 1; /* RFC 2675: the length is in an option; the frame bounds it */
		p->length = 0xffff;
		payload_length = frame_bytes - c->offset;
	}
	if (c->offset + payload_length > frame_bytes)
		return SLUICE_MALFORMED_BAD_IPV6;
	if (p->length > 0xffff)
		p->length = 0xffff;
	c->datagram_end = c->offset + payload_length;

	for (int i = 0; is_extension(p->protocol); i++) {
		int outcome;

		if (i == SLUICE_IPV6_EXTENSIONS_MAX)
			return SLUICE_MALFORMED_TOO_MANY_EXTENSIONS;
		outcome = parse_extension(ctx, c, p);
		if (outcome == EXTENSION_LATER_FRAGMENT)
			return SLUICE_MALFORMED_NONE;
		if (outcome != EXTENSION_NEXT)
			return SLUICE_MALFORMED_TRUNCATED_EXTENSION;
	}
	return parse_transport(ctx, c, p);
}

static __always_inline void add_tag(struct packet *p, __u16 tag, int index)
{
	__u64 id = tag & 0xfff, priority = tag >> 13;

	if (index == 0) {
		p->header |= 1ULL << SLUICE_HEADER_VLAN | id << SLUICE_HEADER_VLAN_ID |
			     priority << SLUICE_HEADER_VLAN_PRIORITY;
	} else {
		p->header |= 1ULL << SLUICE_HEADER_INNER_VLAN | id << SLUICE_HEADER_INNER_VLAN_ID;
		p->link[1] |= priority << SLUICE_LINK_INNER_PRIORITY;
	}
}

/* Fills `p`, which is zero on entry, from a frame of `frame_bytes` (fragments of xdp.frags included). */
static __always_inline int parse(struct xdp_md *ctx, struct packet *p, __u32 frame_bytes)
{
	struct cursor c = {};
	__u8 *header = bytes_at(ctx, &c, ETHERNET_HEADER);
	__u16 ethertype;

	p->family = SLUICE_FAMILY_OTHER;
	p->source_port = SLUICE_NO_PORT;
	p->destination_port = SLUICE_NO_PORT;
	p->length = SLUICE_NO_PORT;
	if (!header)
		return SLUICE_MALFORMED_TRUNCATED_ETHERNET;
	ethertype = bpf_ntohs(*(__u16 *)(header + 12));
	if (reads(SLUICE_FEATURE_LINK)) {
		p->link[0] = (__u64)bpf_ntohs(*(__u16 *)header) << 48 | (__u64)bpf_ntohl(*(__u32 *)(header + 2)) << 16;
		p->link[1] = (__u64)bpf_ntohs(*(__u16 *)(header + 6)) << 48 |
			     (__u64)bpf_ntohl(*(__u32 *)(header + 8)) << 16 |
			     (ctx->rx_queue_index & 0xff) << SLUICE_LINK_QUEUE;
	}
	c.offset = ETHERNET_HEADER;
	for (int i = 0; i < SLUICE_VLAN_TAGS_MAX && is_vlan(ethertype); i++) {
		header = bytes_at(ctx, &c, VLAN_TAG);
		if (!header)
			return SLUICE_MALFORMED_TRUNCATED_VLAN;
		ethertype = bpf_ntohs(*(__u16 *)(header + 2));
		if (reads(SLUICE_FEATURE_VLAN))
			add_tag(p, bpf_ntohs(*(__u16 *)header), i);
		c.offset += VLAN_TAG;
	}
	if (ethertype == ETHERTYPE_IPV4)
		return parse_ipv4(ctx, &c, p, frame_bytes);
	if (ethertype == ETHERTYPE_IPV6)
		return parse_ipv6(ctx, &c, p, frame_bytes);
	p->link[0] |= ethertype;
	return SLUICE_MALFORMED_NONE;
}

#endif
