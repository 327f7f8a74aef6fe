/// The named limits of rule sets. Published by the daemon and the API under the keys of ``published``.
public enum Limits {
  /// Rules in one rule set.
  public static let rulesMax = 100_000
  /// Entries that the rules of one set may become: one for each combination of a rule's lists.
  public static let entriesMax = 1 << 18
  /// Rules with the action `count` in one set: SLUICE_COUNT_RULES_MAX of the ABI.
  public static let countRulesMax = 255
  /// Chains of one rule set.
  public static let chainsMax = 256
  /// Lists of rules that a packet is in at a time, beside the rule set's own.
  public static let chainDepthMax = 16
  /// Rules of a set once each chain stands wherever a rule leads to it.
  public static let flattenedRulesMax = 1 << 17
  /// Sets of one rule set.
  public static let setsMax = 64
  /// Elements in all sets of one rule set.
  public static let setElementsMax = 1 << 21
  /// Elements in all sets of one rule set that count: each takes some 112 bytes of the kernel's memory, and 16 for each CPU.
  public static let countedElementsMax = 1 << 20
  /// Elements of a set of addresses that become entries of the rules that name it; a larger one is looked up for each packet.
  public static let expandedSetElementsMax = 256
  /// Larger ones that the rules of one set name: SLUICE_SETS_MAX of the ABI.
  public static let largeSetsMax = 24
  /// Elements in one field of a match.
  public static let elementsPerFieldMax = 64
  /// Interfaces that one rule set redirects to: SLUICE_REDIRECT_TARGETS_MAX of the ABI.
  public static let redirectTargetsMax = 64
  /// Bytes in the name of a rule or a rule set.
  public static let nameByteCountMax = 63
  /// Bytes of UTF-8 in a comment.
  public static let commentByteCountMax = 256
  /// Tags of one rule.
  public static let tagsPerRuleMax = 16
  /// Bytes of UTF-8 that name a rule's owner.
  public static let ownerByteCountMax = 63
  /// Seconds that a rule may be given to live; a moment may lie further away.
  public static let ttlSecondsMax = 10 * 366 * 86_400
  /// Variables in a rule set's text.
  public static let variablesMax = 256
  /// Bytes in the name of a network interface (IFNAMSIZ - 1).
  public static let interfaceNameByteCountMax = 15
  /// Bytes in a rule set written as text.
  public static let textByteCountMax = 64 << 20
  /// Steps that the analysis of one rule set takes; 0.1 to 1.7 microseconds each.
  public static let analysisStepsMax = 16_000_000
  /// Findings that it reports, and of these rules that it couldn't decide about.
  public static let analysisFindingsMax = 10_000
  static let analysisUndecidedMax = 100
  /// Rules that one finding names.
  static let analysisNamesMax = 64
  /// Elements of the sets of one rule that it can tell something about.
  static let analysisSetElementsMax = 1 << 16
  /// Parts that what is left of one rule's packets may fall into.
  static let analysisPartsMax = 4096
  /// Issues that validation reports before it stops looking.
  public static let issuesMax = 100

  /// Every limit by its name.
  public static let published: [String: UInt64] = [
    "rules_max": UInt64(rulesMax),
    "entries_max": UInt64(entriesMax),
    "count_rules_max": UInt64(countRulesMax),
    "chains_max": UInt64(chainsMax),
    "chain_depth_max": UInt64(chainDepthMax),
    "flattened_rules_max": UInt64(flattenedRulesMax),
    "sets_max": UInt64(setsMax),
    "set_elements_max": UInt64(setElementsMax),
    "counted_elements_max": UInt64(countedElementsMax),
    "expanded_set_elements_max": UInt64(expandedSetElementsMax),
    "large_sets_max": UInt64(largeSetsMax),
    "elements_per_field_max": UInt64(elementsPerFieldMax),
    "redirect_targets_max": UInt64(redirectTargetsMax),
    "name_byte_count_max": UInt64(nameByteCountMax),
    "comment_byte_count_max": UInt64(commentByteCountMax),
    "tags_per_rule_max": UInt64(tagsPerRuleMax),
    "owner_byte_count_max": UInt64(ownerByteCountMax),
    "ttl_seconds_max": UInt64(ttlSecondsMax),
    "variables_max": UInt64(variablesMax),
    "analysis_findings_max": UInt64(analysisFindingsMax),
    "interface_name_byte_count_max": UInt64(interfaceNameByteCountMax),
    "rule_set_text_byte_count_max": UInt64(textByteCountMax),
  ]
}
