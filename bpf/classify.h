/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packet and generation -> the rule that decides. First match wins; Rules.ReferenceClassifier is the oracle. */
#ifndef SLUICE_CLASSIFY_H
#define SLUICE_CLASSIFY_H

#include "elements.h"
#include "maps.h"
#include "sets.h"
#include "walk.h"

static __always_inline __u64 lanes(const struct packet *p)
{
	return p->source_port | (__u64)p->destination_port << SLUICE_LANE_BITS |
	       (__u64)p->length << (2 * SLUICE_LANE_BITS);
}

/* Fills the key by the family's form; returns the tree. */
static __always_inline enum sluice_tree make_key(__u64 *word, const struct packet *p)
{
	__u64 header = p->header | p->protocol;

	if (reads(SLUICE_FEATURE_LINK)) {
		word[6] = p->link[0] | (p->flow_label & 0xffff);
		word[7] = p->link[1] | p->flow_label >> 16 << SLUICE_LINK_FLOW_LABEL;
	}
	if (p->family == SLUICE_FAMILY_IPV6) {
		word[0] = bpf_be64_to_cpu(p->source[0]);
		word[1] = bpf_be64_to_cpu(p->destination[0]);
		word[2] = bpf_be64_to_cpu(p->source[1]);
		word[3] = bpf_be64_to_cpu(p->destination[1]);
		word[4] = lanes(p);
		word[5] = header;
		return SLUICE_TREE_IPV6;
	}
	word[0] = (__u64)bpf_ntohl(p->source[0]) << 32 | bpf_ntohl(p->destination[0]);
	word[1] = lanes(p);
	word[2] = header;
	word[KEY_SHORT_PORTS] = (p->source_port & 0xffff) | (__u64)(p->destination_port & 0xffff) << 32 |
				SLUICE_SHORT_GUARDS;
	word[KEY_SHORT_HEADER] = (header & 0xffff) | (header >> SLUICE_HEADER_FRAGMENT & 31) << SLUICE_SHORT_FRAGMENT |
				 (__u64)(p->source_port >> 16) << SLUICE_SHORT_NO_PORTS;
	return p->family == SLUICE_FAMILY_IPV4 ? SLUICE_TREE_IPV4 : SLUICE_TREE_OTHER;
}

/* Looks the key's addresses up in the large sets that rules ask for. Whether no bound was hit. */
static __always_inline _Bool find_sets(struct walk *w, __u64 origin, enum sluice_tree tree)
{
	__u64 source = 0, destination = 0;

	if (tree == SLUICE_TREE_IPV4) {
		if (reads(SLUICE_FEATURE_SOURCE_SETS))
			source = sets_of_ipv4(origin, w->key[0] >> 32);
		if (reads(SLUICE_FEATURE_DESTINATION_SETS))
			destination = sets_of_ipv4(origin, w->key[0]);
	} else if (tree == SLUICE_TREE_IPV6) {
		if (reads(SLUICE_FEATURE_SOURCE_SETS))
			source = sets_of_ipv6(origin, w->key[0], w->key[2]);
		if (reads(SLUICE_FEATURE_DESTINATION_SETS))
			destination = sets_of_ipv6(origin, w->key[1], w->key[3]);
	}
	w->sets = source | destination << 32;
	return source != SETS_BROKEN && destination != SETS_BROKEN;
}

/* What classification came to. */
struct verdict {
	__u32 action; /* enum sluice_action, never COUNT */
	__u32 slot;
	__u32 redirect_ifindex;
	__u32 is_broken; /* boolean: a bound of the walk was hit; the action is drop */
};

static __always_inline __u32 action_of(__u64 label) { return label >> SLUICE_LABEL_ACTION & 7; }
static __always_inline __u32 slot_of(__u64 label) { return label & (SLUICE_SLOTS_MAX - 1); }

/* What stands for the label of a rule that leaves a chain: behind it the search goes on. */
static __always_inline __u64 resume_of(const struct sluice_generation *g, __u64 label)
{
	return (__u64)g->resumes[label >> SLUICE_LABEL_TARGET & (SLUICE_RESUMES_MAX - 1)] << 32;
}

/* Whether a packet goes on behind the rule: it counts, or leaves a chain. */
static __always_inline _Bool goes_on(__u64 label)
{
	return (1 << SLUICE_ACTION_COUNT | 1 << SLUICE_ACTION_RESUME) >> action_of(label) & 1;
}

/* Whether a label ends the search. 0 doesn't: the walk was not over. */
static __always_inline _Bool ends_search(__u64 label)
{
	return label && (!reads(SLUICE_FEATURE_COUNT) || label >= SLUICE_LABEL_BROKEN || !goes_on(label));
}

/* What one call of find_on() does: the verifier goes through it once, instead of SLUICE_CALLS_MAX times. */
#define CALLS_PER_ROUND 32
_Static_assert(SLUICE_CALLS_MAX % CALLS_PER_ROUND == 0, "all calls are in whole rounds");

/*
 * Goes on where a label does not end the search, for up to CALLS_PER_ROUND calls of a walk and rules that it passes: the label
 * that it came to. Rules behind which it went on have counted.
 */
__noinline __u64 find_on(struct walk *w, __u64 origin, __u64 root, __u64 label, __u64 frame)
{
	const void *tables = tables_begin();
	int is_ipv6 = frame >> 32;

	if (!w || !tables)
		return SLUICE_LABEL_BROKEN;
	for (int i = 0; i < CALLS_PER_ROUND; i++) {
		if (!label) {
			label = is_ipv6 ? walk_ipv6(w, origin) : walk_ipv4(w, origin);
			continue;
		}
		if (ends_search(label))
			return label;
		if (slot_of(label))
			account(&rule_counters, slot_of(label), frame);
		if (COUNTS_ELEMENTS)
			count_elements(w, origin, slot_of(label), frame);
		if (action_of(label) == SLUICE_ACTION_RESUME)
			label = resume_of(generation_in(half_of(tables, origin)), label);
		start(w, root, label);
		label = 0;
	}
	return label;
}

/* Decides about a packet, of which w->packet may be the place. The deciding rule's slot is for the caller to count. */
static __always_inline struct verdict classify(struct walk *w, const void *tables, __u64 origin,
					       const struct packet *p, __u32 frame_bytes)
{
	const struct sluice_generation *g = generation_in(half_of(tables, origin));
	enum sluice_tree tree = make_key(w->key, p);
	__u64 is_ipv6 = tree == SLUICE_TREE_IPV6, label;

	if (reads(FEATURES_OF_SETS) && !find_sets(w, origin, tree))
		return (struct verdict){ .action = SLUICE_ACTION_DROP, .is_broken = 1 };
	start(w, g->roots[tree], 0);
	label = is_ipv6 ? walk_ipv6(w, origin) : walk_ipv4(w, origin);
	for (int i = 0; !ends_search(label); i++) {
		if (i == SLUICE_CALLS_MAX / CALLS_PER_ROUND)
			label = SLUICE_LABEL_BROKEN;
		else
			label = find_on(w, origin, g->roots[tree], label, is_ipv6 << 32 | frame_bytes);
	}
	if (label == SLUICE_LABEL_NONE)
		return (struct verdict){ .action = g->default_action, .slot = SLUICE_SLOT_DEFAULT };
	if (label == SLUICE_LABEL_BROKEN)
		return (struct verdict){ .action = SLUICE_ACTION_DROP, .is_broken = 1 };
	if (COUNTS_ELEMENTS)
		count_elements(w, origin, slot_of(label), is_ipv6 << 32 | frame_bytes);
	return (struct verdict){ .action = action_of(label), .slot = slot_of(label),
				 .redirect_ifindex = g->targets[label >> SLUICE_LABEL_TARGET &
								(SLUICE_REDIRECT_TARGETS_MAX - 1)] };
}

#endif
