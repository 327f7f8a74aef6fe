import Packets

/// A rule as it is asked in one place: of the rule set's own list, or of a chain by one way that leads to it.
public struct FlatRule: Hashable, Sendable {
  /// Where the search goes on behind a rule that leaves its list.
  public enum Continuation: Hashable, Sendable {
    /// With the rule at an index of the flattened list; at its count with what may come to stand behind the last.
    case rule(at: Int)
    /// Nowhere: the default action follows.
    case defaultAction
  }

  /// The rule, with its own match and without sets.
  public var rule: Rule
  /// What the rules ask for that lead here, from the outermost on. All of it must match, too.
  public var outer: [Match]
  /// Of ``Action/leave``, and of no other.
  public var continuation: Continuation?
  /// Whether it only ends a chain that was gone to: it has no counter.
  public var isEnd: Bool
  /// Name of the rule of the rule set's own list that it is, or that leads to it.
  public var listed: String

  public init(rule: Rule, outer: [Match] = [], continuation: Continuation? = nil, isEnd: Bool = false, listed: String? = nil) {
    self.rule = rule
    self.outer = outer
    self.continuation = continuation
    self.isEnd = isEnd
    self.listed = listed ?? rule.name
  }

  /// What must match, the rule's own last.
  public var matches: [Match] { outer + [rule.match] }
}

extension RuleSet {
  /// Every enabled rule wherever it is asked, in order, and without sets: first match wins, but for those that count and
  /// ``Action/leave``, behind which the search goes on by ``FlatRule/continuation``.
  ///
  /// For valid rule sets. Rules that lead into chains are not in it themselves; what can't match because of an empty set isn't
  /// either. ``Limits/flattenedRulesMax`` bounds its size.
  public var flattened: [FlatRule] { flattened(keeping: []) }

  /// The same, but the names of some sets stay in the matches.
  public func flattened(keeping kept: Set<String>) -> [FlatRule] {
    let sets = setsByName
    if chains.isEmpty {
      var flat: [FlatRule] = []
      flat.reserveCapacity(rules.count)
      for rule in rules where rule.isEnabled {
        guard let match = rule.match.withoutSets(sets, keeping: kept) else { continue }
        var rule = rule
        if !sets.isEmpty { rule.match = match }
        flat.append(FlatRule(rule: rule, continuation: rule.action == .leave ? .defaultAction : nil))
      }
      return flat
    }
    var flattener = Flattener(chains: chains, sets: sets, kept: kept)
    var leaving: [Int] = []
    for rule in rules { flattener.add([rule], outer: [], listed: rule.name, leaving: &leaving) }
    flattener.end(leaving, .defaultAction)
    return flattener.flat
  }

  /// How many elements ``flattened(keeping:)`` puts in place of names, of each rule in each place where it names such sets.
  public func resolvedElementCounts(keeping kept: Set<String>) -> [(rule: String, count: Int)] {
    if sets.isEmpty { return [] }
    var counter = ResolvedElementCounter(chains: chains, counts: setsByName.mapValues(\.count), kept: kept)
    counter.add(rules)
    return counter.places
  }

  /// A rule of the own list that leads into no chain, with the elements of the sets in place of their names.
  ///
  /// - Parameter kept: Names of sets that stay.
  /// - Returns: Nil where nothing can match, or it isn't valid in this rule set.
  public func resolved(_ rule: Rule, keeping kept: Set<String>) -> Rule? {
    if chains.contains(where: { $0.rules.contains { $0.name == rule.name } }) { return nil }
    if !rule.namesOthers { return rule }
    var rule = rule
    let sets = setsByName
    let isKnown = rule.match.setReferences.allSatisfy { field, names in names.allSatisfy { sets[$0]?.kind.fits(field) ?? false } }
    guard rule.action.chain == nil, isKnown, let match = rule.match.withoutSets(sets, keeping: kept) else { return nil }
    rule.match = match
    return rule
  }

  /// Of several with one name, which is an error, the first.
  var setsByName: [String: NamedSet] {
    Dictionary(sets.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// Whether everything that rules ask for is in their own matches, in one list: nothing to flatten.
  public var isFlat: Bool { chains.isEmpty && sets.isEmpty && !rules.contains { $0.action == .leave } }
}

private struct Flattener {
  private let chains: [String: Chain]
  private let sets: [String: NamedSet]
  private let kept: Set<String>
  var flat: [FlatRule] = []

  init(chains: [Chain], sets: [String: NamedSet], kept: Set<String>) {
    self.chains = Dictionary(chains.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.sets = sets
    self.kept = kept
  }

  /// - Parameters:
  ///   - listed: The rule of the own list that they are, or that leads to them.
  ///   - leaving: collects what goes on behind the jump that led here.
  mutating func add(_ rules: RuleList, outer: [Match], listed: String, leaving: inout [Int]) {
    for rule in rules where rule.isEnabled {
      guard let match = rule.match.withoutSets(sets, keeping: kept) else { continue }
      let inner = match == Match() ? outer : outer + [match]
      switch rule.action {
      case .jump(let name):
        var returning: [Int] = []
        add(chains[name]?.rules ?? [], outer: inner, listed: listed, leaving: &returning)
        end(returning, .rule(at: flat.count))
      case .goTo(let name):
        add(chains[name]?.rules ?? [], outer: inner, listed: listed, leaving: &leaving)
        leaving.append(flat.count)
        let end = Rule(name: rule.name, match: match, action: .leave)
        flat.append(FlatRule(rule: end, outer: outer, isEnd: true, listed: listed))
      case .leave:
        leaving.append(flat.count)
        fallthrough
      case .pass, .drop, .count, .capture, .redirect:
        var rule = rule
        rule.match = match
        flat.append(FlatRule(rule: rule, outer: outer, listed: listed))
      }
    }
  }

  mutating func end(_ leaving: [Int], _ continuation: FlatRule.Continuation) {
    for index in leaving { flat[index].continuation = continuation }
  }
}

/// Goes where ``Flattener`` goes.
private struct ResolvedElementCounter {
  private let chains: [String: Chain]
  /// Of each set.
  private let counts: [String: Int]
  private let kept: Set<String>
  private(set) var places: [(rule: String, count: Int)] = []

  init(chains: [Chain], counts: [String: Int], kept: Set<String>) {
    self.chains = Dictionary(chains.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    self.counts = counts
    self.kept = kept
  }

  mutating func add(_ rules: RuleList) {
    for rule in rules where rule.isEnabled {
      let match = rule.match
      guard let sources = match.sources.resolvedCount(kept, counts),
        let destinations = match.destinations.resolvedCount(kept, counts),
        let sourcePorts = match.sourcePorts.resolvedCount(kept, counts),
        let destinationPorts = match.destinationPorts.resolvedCount(kept, counts)
      else { continue }
      let count = sources + destinations + sourcePorts + destinationPorts
      if count > 0 { places.append((rule.name, count)) }
      if let name = rule.action.chain { add(chains[name]?.rules ?? []) }
    }
  }
}

extension Match {
  /// The same with the elements of the sets in place of their names; nil: nothing matches.
  ///
  /// - Parameter negated: the sets for `!= @set`; nil: the same.
  func withoutSets(
    _ sets: [String: NamedSet], negated: [String: NamedSet]? = nil, keeping kept: Set<String> = []
  ) -> Match? {
    if sets.isEmpty { return self }
    func named(_ name: String, _ isNegated: Bool) -> NamedSet? { isNegated ? (negated ?? sets)[name] : sets[name] }
    var match = self
    let all = IPFamily.allCases.map { IPPrefix(IPAddress(family: $0, value: 0), length: 0) }
    let allPorts = [PortRange(low: 0, high: .max)]
    guard match.sources.resolve(kept, { named($0, $1)?.prefixes ?? [] }, all: all),
      match.destinations.resolve(kept, { named($0, $1)?.prefixes ?? [] }, all: all),
      match.sourcePorts.resolve(kept, { named($0, $1)?.ports ?? [] }, all: allPorts),
      match.destinationPorts.resolve(kept, { named($0, $1)?.ports ?? [] }, all: allPorts)
    else { return nil }
    return match
  }
}

extension Match {
  /// Elements of all sets that it names.
  func elementCount(in sets: [String: NamedSet]) -> Int {
    (sources.sets + destinations.sets + sourcePorts.sets + destinationPorts.sets).reduce(0) { $0 + (sets[$1]?.count ?? 0) }
  }
}

extension Condition {
  /// Puts elements in place of names. Whether anything can match; `all` does whatever has the field.
  fileprivate mutating func resolve(
    _ kept: Set<String>, _ elements: (String, Bool) -> [Element], all: [Element]
  ) -> Bool {
    if sets.allSatisfy(kept.contains) { return true }
    let names = kept.isEmpty ? [] : sets.filter(kept.contains)
    let resolved = self.elements + sets.filter { !kept.contains($0) }.flatMap { elements($0, isNegated) }
    if resolved.isEmpty && names.isEmpty {
      self = Condition(isNegated ? all : [])
      return !isEmpty
    }
    self = Condition(resolved, sets: names, isNegated: isNegated)
    return true
  }

  /// How many elements it then has, 0 where all stays as it is; nil: nothing can match.
  fileprivate func resolvedCount(_ kept: Set<String>, _ counts: [String: Int]) -> Int? {
    if sets.allSatisfy(kept.contains) { return 0 }
    let count = sets.reduce(elements.count) { kept.contains($1) ? $0 : $0 + (counts[$1] ?? 0) }
    return count == 0 && !isNegated && !sets.contains(where: kept.contains) ? nil : count
  }
}
