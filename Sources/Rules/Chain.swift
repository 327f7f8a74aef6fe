/// Rules with a name of their own, asked where a rule of the rule set, or of another chain, leads to them.
public struct Chain: Hashable, Sendable {
  /// Unique among the rule set's chains: `[a-z0-9][a-z0-9._-]{0,62}`.
  public var name: String
  /// Free text, as a rule's.
  public var comment: String
  /// In order. Their names are unique in the rule set, not only here.
  public var rules: RuleList

  public init(name: String, comment: String = "", rules: some Sequence<Rule> = []) {
    self.name = name
    self.comment = comment
    self.rules = RuleList(rules)
  }
}

extension RuleSet {
  /// The set's own list, whose chain is nil, then those of its chains.
  public var lists: [(chain: String?, rules: RuleList)] { [(nil, rules)] + chains.map { ($0.name, $0.rules) } }

  /// The rules of the set's own list, then those of its chains.
  public var allRules: RuleList { chains.isEmpty ? rules : rules + chains.flatMap(\.rules) }

  /// Of all rules, those of chains too.
  public var ruleCount: Int { chains.reduce(rules.count) { $0 + $1.rules.count } }

  /// All rules that have counters: those that a packet can stop at or pass. A jump isn't one, its chain's rules are.
  public var countedRules: RuleList { chains.isEmpty ? rules : allRules.filter { $0.action.chain == nil } }

  /// The rules of a chain; none where there is no such chain.
  public func rules(ofChain name: String) -> RuleList { chains.first { $0.name == name }?.rules ?? [] }
}

extension Action {
  /// The chain that a jump or goto leads to.
  public var chain: String? {
    switch self {
    case .jump(let chain), .goTo(let chain): chain
    default: nil
    }
  }

  /// Whether packets that match go on to the rules behind, all or some: it counts, or jumps.
  var goesOn: Bool {
    switch self {
    case .count, .jump: true
    default: false
    }
  }
}
