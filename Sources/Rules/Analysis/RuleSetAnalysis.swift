import Packets

extension RuleSet {
  /// Rules that do nothing, or nothing of their own, each with the rules that say why and a packet.
  ///
  /// Exact: what is reported is so for every packet, and of what isn't reported only combinations that no packet shows are
  /// missed (lengths too short for their headers). Where `budget` doesn't suffice, a rule is reported as undecided.
  ///
  /// Each list of rules is looked at by itself, a chain as if any packet came to it: what a rule does that leads into a chain
  /// is not followed. Rules that end are no reason to remove one that stays longer.
  ///
  /// - Parameter budget: steps: a comparison of two rules' packets is one, putting a rule's packets in order 40, and 3 more for
  ///   each element of its sets, for which half of them may be taken; passing over 64 rules that lie elsewhere is one.
  /// - Parameter now: Rules and elements that have ended by then don't count; times to live begin then.
  public func analysis(
    budget: Int = Limits.analysisStepsMax, atUnixMilliseconds now: Int64 = 0
  ) -> RuleSetAnalysis {
    let live = live(atUnixMilliseconds: now)
    var analyser = Analyser(live, chain: nil, budget: budget)
    var analysis = analyser.run()
    for chain in live.chains {
      var analyser = Analyser(live, chain: chain, budget: budget - analysis.stepCount)
      analysis.add(analyser.run())
    }
    return analysis
  }

  /// Every rule in its place: those that have expired are disabled.
  private func live(atUnixMilliseconds now: Int64) -> RuleSet {
    var live = self
    live.fixExpiry(atUnixMilliseconds: now)
    func disable(_ rules: inout RuleList) {
      for index in rules.indices where rules[index].hasExpired(atUnixMilliseconds: now) { rules[index].isEnabled = false }
    }
    disable(&live.rules)
    for index in live.chains.indices { disable(&live.chains[index].rules) }
    for index in live.sets.indices { _ = live.sets[index].removeEnded(atUnixMilliseconds: now) }
    return live
  }
}

private struct Analyser {
  private struct Row {
    let rule: Int
    let region: PacketRegion
    let bounds: Bounds
  }

  private let ruleSet: RuleSet
  /// Nil: the rules are those of the rule set's own list, behind which the default action comes.
  private let chain: String?
  /// Indices of the enabled rules.
  private let indices: [Int]
  private let interfaces: [String]
  /// Rules that match nothing because their sets are empty, for now.
  private var waiting: Set<Int> = []
  /// Rules that name sets in which elements end.
  private let changing: Set<Int>
  /// When rules end, in milliseconds since 1970.
  private let ends: [Int: Int64]
  /// Nil: not to be told.
  private var regions: [Int: MatchRegions?] = [:]
  /// Of the enabled rules in order.
  private var rows: [PacketKind: [Row]] = [:]
  private var left: Int
  private var reached: [String: ExamplePacket] = [:]
  private let budget: Int
  /// Ranges that what is left of one rule takes in memory at most: of the kinds that are done, and of the one at hand.
  private var doneSpanCount = 0
  private var spanCount = 0
  private static let spansMax = 1 << 21
  private static let stepsPerRule = 40
  private static let stepsPerElement = 3
  /// Rules elsewhere that one step passes over.
  private static let rowsPerStep = 64

  /// - Parameter chain: whose rules it is about.
  init(_ ruleSet: RuleSet, chain: Chain?, budget: Int) {
    let sets = ruleSet.setsByName
    var ruleSet = ruleSet
    if let chain { ruleSet.rules = chain.rules }
    self.ruleSet = ruleSet
    self.chain = chain?.name
    self.budget = budget
    left = budget
    indices = ruleSet.rules.indices.filter { ruleSet.rules[$0].isEnabled }
    let ending = Set(ruleSet.sets.lazy.filter { $0.nextEnd != nil }.map(\.name))
    // What is not in a set comes to match more as the set's elements end.
    lazy var lasting = sets.mapValues(\.lasting)
    changing =
      ending.isEmpty
      ? [] : Set(indices.filter { ruleSet.rules[$0].match.setReferences.contains { !ending.isDisjoint(with: $0.names) } })
    ends = Dictionary(
      uniqueKeysWithValues: indices.compactMap { index in
        ruleSet.rules[index].expiresAtUnixMilliseconds.map { (index, $0) }
      })
    interfaces = Set(indices.flatMap { ruleSet.rules[$0].match.interfaces.elements }).sorted()
    let numbers = Dictionary(uniqueKeysWithValues: interfaces.enumerated().map { ($0.element, UInt128($0.offset)) })
    // Each is a range or two in memory as long as the analysis takes.
    var elementsLeft = budget / 2 / Analyser.stepsPerElement
    for index in indices {
      left -= Analyser.stepsPerRule
      let match = ruleSet.rules[index].match
      let elementCount = sets.isEmpty ? 0 : match.elementCount(in: sets)
      // Beyond the budget nothing is known about a rule.
      var made: MatchRegions?
      if left >= 0, elementCount <= min(elementsLeft, Limits.analysisSetElementsMax) {
        elementsLeft -= elementCount
        left -= elementCount * Analyser.stepsPerElement
        let resolved = match.withoutSets(sets, negated: mayGrow(index) ? lasting : nil)
        made = MatchRegions(resolved ?? match, interfaces: numbers)
        if resolved == nil {
          made?.byKind = [:]
          waiting.insert(index)
        }
      }
      regions[index] = .some(made)
      for (kind, region) in made?.byKind ?? [:] {
        rows[kind, default: []].append(Row(rule: index, region: region, bounds: Bounds(region)))
      }
    }
  }

  mutating func run() -> RuleSetAnalysis {
    var findings: [RuleFinding] = []
    var undecidedCount = 0
    var isCut = false
    for index in indices {
      guard let finding = finding(about: index) else { continue }
      if finding.kind == .undecided { undecidedCount += 1 }
      if finding.kind == .undecided, undecidedCount > Limits.analysisUndecidedMax { continue }
      if findings.count < Limits.analysisFindingsMax { findings.append(finding) } else { isCut = true }
    }
    return RuleSetAnalysis(
      findings: findings, undecidedCount: undecidedCount, isCut: isCut, reached: reached, ruleCount: indices.count,
      stepCount: budget - max(left, 0))
  }

  private func name(_ index: Int) -> String { ruleSet.rules[index].name }

  private func make(
    _ kind: RuleFinding.Kind, _ index: Int, by: [String] = [], packet: ExamplePacket? = nil, _ message: String
  ) -> RuleFinding {
    RuleFinding(
      kind: kind, rule: name(index), chain: chain, index: index, by: Array(by.prefix(Limits.analysisNamesMax)), packet: packet, message: message)
  }

  private mutating func finding(about index: Int) -> RuleFinding? {
    if left < 0 { return make(.undecided, index, outOfBudget) }
    guard let known = regions[index], let own = known else {
      return make(.undecided, index, "its masks of MAC addresses or its sets stand for too many ranges to tell")
    }
    if own.isEmpty {
      if waiting.contains(index) { return nil }
      return make(.contradictory, index, "no packet shows all that it asks for; correct it or remove it")
    }
    do throws(OutOfBudget) {
      if let above = try single(above: index, own) { return covered(index, own, by: [above]) }
      let (remaining, now, by) = try remainder(of: index, own)
      if remaining.isEmpty { return covered(index, own, by: by) }
      if chain == nil, !mayGrow(index) { reached[name(index)] = example(of: now) }
      if ruleSet.rules[index].action.goesOn { return nil }
      return try redundant(index, remaining)
    } catch {
      return make(.undecided, index, outOfBudget)
    }
  }

  private var outOfBudget: String { "it would take more than \(budget) steps to tell; ask about fewer rules at a time" }

  // MARK: rules above

  /// Rules above with packets of a kind, or more.
  private func rowsAbove(_ index: Int, _ kind: PacketKind) -> Int { min(index, rows[kind]?.count ?? 0) }

  private func decides(_ index: Int) -> Bool { !ruleSet.rules[index].action.goesOn }

  /// Whether the rule comes to match more by itself: its region is the one then, of which it need not match all now.
  private func mayGrow(_ index: Int) -> Bool {
    changing.contains(index) && ruleSet.rules[index].match.excludesSets
  }

  /// Whether what `other` matches now it matches as long as the rule is there.
  private func lasts(_ other: Int, as index: Int) -> Bool {
    if changing.contains(other) { return false }
    guard let end = ends[other] else { return true }
    return ends[index].map { $0 <= end } ?? false
  }

  /// The first rule above that matches all that this one does.
  private mutating func single(above index: Int, _ own: MatchRegions) throws(OutOfBudget) -> Int? {
    var common: Set<Int>?
    for (kind, region) in own.byKind {
      let bounds = Bounds(region)
      var covering: Set<Int> = []
      try spend(rowsAbove(index, kind) / Analyser.rowsPerStep)
      for row in rows[kind] ?? [] {
        if row.rule >= index { break }
        guard row.bounds.contains(bounds), decides(row.rule), common?.contains(row.rule) != false,
          lasts(row.rule, as: index)
        else { continue }
        try spend(1)
        if region.isSubset(of: row.region) { covering.insert(row.rule) }
      }
      if covering.isEmpty { return nil }
      common = covering
    }
    return common?.min()
  }

  /// What the rules above leave of a rule's packets as long as it is there, what they leave of these now, and those that
  /// take some of them for good.
  private mutating func remainder(
    of index: Int, _ own: MatchRegions
  ) throws(OutOfBudget) -> (parts: [PacketKind: [PacketRegion]], now: [PacketKind: [PacketRegion]], by: [Int]) {
    var remaining: [PacketKind: [PacketRegion]] = [:]
    var now: [PacketKind: [PacketRegion]] = [:]
    var by: Set<Int> = []
    doneSpanCount = 0
    for kind in PacketKind.all {
      spanCount = 0
      guard let region = own.byKind[kind] else { continue }
      let bounds = Bounds(region)
      var parts = [region]
      var passing: [PacketRegion] = []
      try spend(rowsAbove(index, kind) / Analyser.rowsPerStep)
      for row in rows[kind] ?? [] {
        if row.rule >= index || parts.isEmpty { break }
        guard row.bounds.overlaps(bounds), decides(row.rule) else { continue }
        if !lasts(row.rule, as: index) {
          passing.append(row.region)
        } else if try take(row.region, from: &parts) {
          by.insert(row.rule)
        }
      }
      if !parts.isEmpty { remaining[kind] = parts }
      for region in passing where !parts.isEmpty { _ = try take(region, from: &parts) }
      if !parts.isEmpty { now[kind] = parts }
      let kept = passing.isEmpty ? parts : parts + (remaining[kind] ?? [])
      doneSpanCount += min(spanCount, kept.reduce(0) { $0 + $1.spanCount })
    }
    return (remaining, now, by.sorted())
  }

  private func example(of parts: [PacketKind: [PacketRegion]]) -> ExamplePacket? {
    guard let kind = PacketKind.all.first(where: { parts[$0] != nil }) else { return nil }
    return parts[kind]?.first?.example(of: kind, interfaces: interfaces)
  }

  private func covered(_ index: Int, _ own: MatchRegions, by rules: [Int]) -> RuleFinding {
    let action = ruleSet.rules[index].action
    let names = rules.map(name)
    let isSame = rules.allSatisfy { ruleSet.rules[$0].action == action }
    let list = RuleFinding.list(names)
    let packet = example(of: own.byKind.mapValues { [$0] })
    if isSame {
      return make(
        .redundant, index, by: names, packet: packet,
        "\(list) above \(names.count == 1 ? "matches" : "together match") all that it matches, and "
          + "\(names.count == 1 ? "does" : "do") the same; remove it")
    }
    if names.count == 1 {
      return make(
        .shadowed, index, by: names, packet: packet,
        "\(list) above matches all that it matches, and decides otherwise; move it up, or remove it")
    }
    return make(
      .neverHit, index, by: names, packet: packet,
      "\(list) above together match all that it matches; move it up, or remove it")
  }

  // MARK: rules below

  /// A finding where, without the rule, those below would decide the same about what it decides.
  private mutating func redundant(
    _ index: Int, _ remaining: [PacketKind: [PacketRegion]]
  ) throws(OutOfBudget) -> RuleFinding? {
    let action = ruleSet.rules[index].action
    var by: Set<Int> = []
    var isDefaults = false
    for kind in PacketKind.all {
      spanCount = 0
      guard var parts = remaining[kind] else { continue }
      let kindRows = rows[kind] ?? []
      try spend(rowsAbove(index, kind) / Analyser.rowsPerStep)
      let start = kindRows.firstIndex { $0.rule > index } ?? kindRows.count
      for row in kindRows[start...] {
        if parts.isEmpty { break }
        try spend(parts.count)
        guard parts.contains(where: { !$0.isDisjoint(from: row.region) }) else { continue }
        // A rule that counts would count what it doesn't now.
        guard ruleSet.rules[row.rule].action == action else { return nil }
        if !lasts(row.rule, as: index) { continue }
        if try take(row.region, from: &parts) { by.insert(row.rule) }
      }
      if parts.isEmpty { continue }
      guard chain == nil, Action(ruleSet.defaultAction) == action else { return nil }
      isDefaults = true
    }
    // Rules whose packets can't be told may lie between.
    if regions.contains(where: { $0.key > index && $0.value == nil }) { return nil }
    let names = by.sorted().map(name) + (isDefaults ? [Rule.reservedName] : [])
    let subject = by.isEmpty ? "the default action" : RuleFinding.list(names) + " below"
    return make(
      .redundant, index, by: names, packet: example(of: remaining),
      "without it \(subject) would do the same with all its packets; remove it, unless its counter is wanted")
  }

  // MARK: work

  private struct OutOfBudget: Error {}

  private mutating func spend(_ steps: Int) throws(OutOfBudget) {
    left -= steps
    if left < 0 { throw OutOfBudget() }
  }

  /// Whether some of the parts were in `region`.
  private mutating func take(_ region: PacketRegion, from parts: inout [PacketRegion]) throws(OutOfBudget) -> Bool {
    try spend(parts.count)
    guard parts.contains(where: { !$0.isDisjoint(from: region) }) else { return false }
    var rest: [PacketRegion] = []
    if spanCount > Analyser.spansMax / 2 { spanCount = min(spanCount, parts.reduce(0) { $0 + $1.spanCount }) }
    for part in parts {
      if part.isDisjoint(from: region) {
        rest.append(part)
        continue
      }
      spanCount += part.spanCount(subtracting: region)
      if doneSpanCount + spanCount > Analyser.spansMax { throw OutOfBudget() }
      rest += part.subtracting(region)
    }
    parts = rest
    if parts.count > Limits.analysisPartsMax { throw OutOfBudget() }
    return true
  }
}

extension RuleFinding {
  /// Names for a sentence: the first few.
  fileprivate static func list(_ names: [String]) -> String {
    names.prefix(4).joined(separator: ", ") + (names.count > 4 ? " and \(names.count - 4) more" : "")
  }
}

/// Where a region lies, to tell apart quickly what doesn't touch.
private struct Bounds {
  private var source: ValueSet.Span
  private var destination: ValueSet.Span
  private var number: ValueSet.Span
  private var port: ValueSet.Span

  init(_ region: PacketRegion) {
    func span(_ dimension: Dimension) -> ValueSet.Span {
      guard let spans = region[dimension]?.spans, let first = spans.first else { return .init(low: 0, high: .max) }
      return .init(low: first.low, high: spans[spans.count - 1].high)
    }
    source = span(.source)
    destination = span(.destination)
    number = span(.protocol)
    port = span(.secondLane)
  }

  func overlaps(_ other: Bounds) -> Bool {
    source.overlaps(other.source) && destination.overlaps(other.destination) && number.overlaps(other.number)
      && port.overlaps(other.port)
  }

  func contains(_ other: Bounds) -> Bool {
    source.contains(other.source) && destination.contains(other.destination) && number.contains(other.number)
      && port.contains(other.port)
  }
}

extension ValueSet.Span {
  fileprivate func overlaps(_ other: Self) -> Bool { low <= other.high && other.low <= high }
  fileprivate func contains(_ other: Self) -> Bool { low <= other.low && other.high <= high }
}
