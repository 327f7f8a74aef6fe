import Packets

/// Validates lists of rules one after the other: what is unique, and what is limited, is so over all of them.
struct ListValidator {
  private let chains: Set<String>
  private let sets: [String: NamedSet.Kind]
  private var placeByName: [String: (list: String, index: Int)] = [:]
  private var targets: Set<String> = []
  private var left = Limits.rulesMax

  init(ruleSet: RuleSet) {
    chains = Set(ruleSet.chains.map(\.name))
    sets = Dictionary(ruleSet.sets.map { ($0.name, $0.kind) }, uniquingKeysWith: { first, _ in first })
  }

  mutating func validate(_ rules: RuleList, at list: String, into issues: inout IssueCollector) {
    var catchAll: Rule?
    let count = min(left, rules.count)
    placeByName.reserveCapacity(placeByName.count + count)
    left -= count
    for (index, rule) in zip(0..<count, rules) {
      func path() -> String { "\(list)[\(index)]" }
      if !rule.isEvidentlyValid { rule.validate(at: path(), into: &issues) }
      if rule.namesOthers { validateReferences(of: rule, at: path(), into: &issues) }
      if let (firstList, first) = placeByName[rule.name] {
        issues.add(
          .duplicateName, "\(path()).name",
          "\"\(ValueTextError.excerpt(rule.name))\" is the name of \(firstList)[\(first)] too; a rule's counters belong to "
            + "its name, give it another")
      } else {
        placeByName[rule.name] = (list, index)
      }
      guard rule.isEnabled else { continue }
      if let catchAll {
        issues.add(.unreachableRule, path(), RuleSet.unreachable(below: catchAll))
      } else if rule.decidesAll {
        catchAll = rule
      }
      if let target = rule.action.redirectInterface, targets.insert(target).inserted,
        targets.count == Limits.redirectTargetsMax + 1
      {
        issues.add(
          .tooManyRedirectTargets, "\(path()).redirect_to",
          "a rule set redirects to at most \(Limits.redirectTargetsMax) interfaces")
      }
    }
  }

  private func validateReferences(of rule: Rule, at path: String, into issues: inout IssueCollector) {
    if let chain = rule.action.chain, !chains.contains(chain) {
      issues.add(
        .unknownChain, "\(path).chain",
        "the rule set has no chain \"\(ValueTextError.excerpt(chain))\"\(meant(chain, among: chains))")
    }
    for (field, names) in rule.match.setReferences {
      for name in names {
        guard let kind = sets[name] else {
          issues.add(
            .unknownSet, "\(path).match.\(field)",
            "the rule set has no set @\(ValueTextError.excerpt(name))\(meant(name, among: sets.keys, sign: "@"))")
          continue
        }
        if !kind.fits(field) {
          issues.add(
            .wrongSetType, "\(path).match.\(field)",
            "@\(name) is of \(kind.rawValue); \(field.hasSuffix("ports") ? "ports" : "addresses") are asked for here")
        }
      }
    }
  }
}

/// For the end of a message. Work for each name: only where the message is wanted.
private func meant(_ name: String, among names: some Sequence<String>, sign: String = "") -> String {
  nearest(to: name, among: names.sorted()).map { "; \(sign)\($0) is probably meant" } ?? ""
}

extension Rule {
  /// Whether it names chains or sets.
  public var namesOthers: Bool {
    action.chain != nil || !match.sources.sets.isEmpty || !match.destinations.sets.isEmpty
      || !match.sourcePorts.sets.isEmpty || !match.destinationPorts.sets.isEmpty
  }
}

extension NamedSet.Kind {
  /// Whether a field of ``Match/setReferences`` asks for such elements.
  func fits(_ field: String) -> Bool { (self == .ports) == field.hasSuffix("ports") }
}

extension Match {
  /// Whether a field asks for what is not in a set.
  var excludesSets: Bool {
    func excludes<Element>(_ condition: Condition<Element>) -> Bool { condition.isNegated && !condition.sets.isEmpty }
    return excludes(sources) || excludes(destinations) || excludes(sourcePorts) || excludes(destinationPorts)
  }

  /// Names of sets by the field that asks for them.
  var setReferences: [(field: String, names: [String])] {
    [
      ("sources", sources.sets), ("destinations", destinations.sets), ("source_ports", sourcePorts.sets),
      ("destination_ports", destinationPorts.sets),
    ].filter { !$0.1.isEmpty }
  }
}

func validateComment(_ comment: String, at path: String, into issues: inout IssueCollector) {
  if comment.utf8.count > Limits.commentByteCountMax {
    issues.add(
      .invalidComment, path, "\(comment.utf8.count) bytes; a comment has at most \(Limits.commentByteCountMax)")
  }
  if comment.unicodeScalars.contains(where: isControl) {
    issues.add(.invalidComment, path, "it contains control characters; a comment is one line of text")
  }
}

extension RuleSet {
  func validateSets(into issues: inout IssueCollector) {
    if sets.count > Limits.setsMax {
      issues.add(.tooManySets, "sets", "\(sets.count) sets; a rule set has at most \(Limits.setsMax)")
    }
    let elementCount = sets.reduce(0) { $0 + $1.count }
    if elementCount > Limits.setElementsMax {
      issues.add(
        .tooManySetElements, "sets",
        "\(elementCount) elements; the sets of a rule set have at most \(Limits.setElementsMax)")
    }
    let countedCount = sets.reduce(0) { $0 + ($1.hasCounters ? $1.count : 0) }
    if countedCount > Limits.countedElementsMax {
      issues.add(
        .tooManyCountedElements, "sets",
        "\(countedCount) elements count; counted_elements_max is \(Limits.countedElementsMax): leave the counters of some sets out")
    }
    var places: [String: Int] = [:]
    for (index, set) in sets.prefix(Limits.setsMax).enumerated() {
      let path = "sets[\(index)]"
      if !isValidName(set.name) { issues.add(.invalidName, "\(path).name", invalidNameMessage(set.name)) }
      validateComment(set.comment, at: "\(path).comment", into: &issues)
      if let first = places.updateValue(index, forKey: set.name) {
        issues.add(.duplicateName, "\(path).name", "\(set.name) is the name of sets[\(first)] too")
      }
      if set.hasCounters, set.kind == .ports {
        issues.add(
          .countersOfPorts, "\(path).counters", "elements of sets of addresses count, those of \(set.kind.rawValue) don't: leave it out")
      }
      if let bad = set.expiries.firstIndex(where: { $0?.fault != nil }), let reason = set.expiries[bad]?.fault {
        issues.add(.invalidExpiry, "\(path).elements[\(bad)]", reason)
      }
    }
  }

  func validateChains(with lists: inout ListValidator, into issues: inout IssueCollector) {
    if chains.count > Limits.chainsMax {
      issues.add(.tooManyChains, "chains", "\(chains.count) chains; a rule set has at most \(Limits.chainsMax)")
    }
    var places: [String: Int] = [:]
    for (index, chain) in chains.prefix(Limits.chainsMax).enumerated() {
      let path = "chains[\(index)]"
      if !isValidName(chain.name) { issues.add(.invalidName, "\(path).name", invalidNameMessage(chain.name)) }
      validateComment(chain.comment, at: "\(path).comment", into: &issues)
      if let first = places.updateValue(index, forKey: chain.name) {
        issues.add(.duplicateName, "\(path).name", "\(chain.name) is the name of chains[\(first)] too")
      }
      lists.validate(chain.rules, at: "\(path).rules", into: &issues)
    }
    guard chains.count <= Limits.chainsMax, places.count == chains.count else { return }
    ChainGraph(self).validate(into: &issues)
  }
}
