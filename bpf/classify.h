/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Packet and generation -> the rule that decides. First match wins; Rules.ReferenceClassifier is the oracle. */
#ifndef SLUICE_CLASSIFY_H
#define SLUICE_CLASSIFY_H

#include "maps.h"
#include "parse.h"
#include "walk.h"

static __always_inline __u64 lanes(const struct packet *p)
{
	return p->source_port | (__u64)p->destination_port << SLUICE_LANE_BITS |
	       (__u64)p->length << (2 * SLUICE_LANE_BITS);
}

/* Fills the key, which is zero on entry, by the family's form; returns the tree. */
static __always_inline enum sluice_tree make_key(__u64 *key, const struct packet *p)
{
	if (reads(SLUICE_FEATURE_LINK)) {
		key[6] = p->link[0] | (p->flow_label & 0xffff);
		key[7] = p->link[1] | p->flow_label >> 16 << SLUICE_LINK_FLOW_LABEL;
	}
	if (p->family == SLUICE_FAMILY_IPV6) {
		key[0] = bpf_be64_to_cpu(p->source[0]);
		key[1] = bpf_be64_to_cpu(p->destination[0]);
		key[2] = bpf_be64_to_cpu(p->source[1]);
		key[3] = bpf_be64_to_cpu(p->destination[1]);
		key[4] = lanes(p);
		key[5] = p->header | p->protocol;
		return SLUICE_TREE_IPV6;
	}
	key[0] = (__u64)bpf_ntohl(p->source[0]) << 32 | bpf_ntohl(p->destination[0]);
	key[1] = lanes(p);
	key[2] = p->header | p->protocol;
	return p->family == SLUICE_FAMILY_IPV4 ? SLUICE_TREE_IPV4 : SLUICE_TREE_OTHER;
}

static __always_inline const struct sluice_rule *rule_of(const void *tables, __u64 origin, __u64 label)
{
	__u64 offset = origin + sizeof(struct sluice_generation) + (label & 0xffffffff) * sizeof(struct sluice_rule);

	return table_record(tables, offset, sizeof(struct sluice_rule));
}

/* What classification came to. */
struct verdict {
	__u32 action; /* enum sluice_action, never COUNT */
	__u32 slot;
	__u32 redirect_ifindex;
	__u32 is_broken; /* boolean: a bound of the walk was hit; the action is drop */
};

/* A classification under way, in the memory of its caller. */
struct search {
	struct walk walk;
	__u64 root;
	__u64 label; /* of the last `count` rule passed; 0: none yet */
	__u32 frame_bytes;
	__u32 tree; /* enum sluice_tree */
	struct verdict verdict;
};

/*
 * On to the next rule that matches. Returns whether it decides; a `count` rule has counted. Global, so that the verifier
 * checks it once.
 */
__noinline int next_rule(struct search *s)
{
	const void *tables = tables_begin();
	const struct sluice_generation *g;
	const struct sluice_rule *rule;
	__u64 label;

	if (!s || !tables)
		return 1;
	label = find(&s->walk, s->root, s->label, s->tree == SLUICE_TREE_IPV6);
	if (label == SLUICE_LABEL_BROKEN)
		return 1;
	if (label == SLUICE_LABEL_NONE) {
		g = table_record(tables, s->walk.origin, sizeof(*g));
		s->verdict = (struct verdict){ .action = g->default_action, .slot = SLUICE_SLOT_DEFAULT };
		return 1;
	}
	rule = rule_of(tables, s->walk.origin, label);
	if (rule->action != SLUICE_ACTION_COUNT) {
		s->verdict = (struct verdict){ .action = rule->action, .slot = rule->slot,
					       .redirect_ifindex = rule->redirect_ifindex };
		return 1;
	}
	account(&rule_counters, rule->slot, s->frame_bytes);
	s->label = label;
	return 0;
}

/* Decides about a packet. Where a bound is hit, the verdict stays what it is at first: broken, drop. */
static __always_inline struct verdict classify(const void *tables, __u64 origin, const struct packet *p,
					       __u32 frame_bytes)
{
	const struct sluice_generation *g = table_record(tables, origin, sizeof(*g));
	struct search s = { .walk = { .origin = origin }, .frame_bytes = frame_bytes,
			    .verdict = { .action = SLUICE_ACTION_DROP, .is_broken = 1 } };

	s.tree = make_key(s.walk.key, p);
	s.root = g->roots[s.tree];
	for (int i = 0; i <= SLUICE_COUNT_RULES_MAX; i++)
		if (next_rule(&s))
			break;
	return s.verdict;
}

#endif
