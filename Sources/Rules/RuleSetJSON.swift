import Packets

extension RuleSet {
  private enum CodingKeys: String, CodingKey, CaseIterable {
    case name, revision
    case defaultAction = "default_action"
    case malformed
    case malformedExceptions = "malformed_exceptions"
    case rules, chains, sets
  }

  /// Names of the fields of its JSON form.
  public static let fieldNames = CodingKeys.allCases.map(\.rawValue)

  /// Missing: revision 0, default pass, malformed drop without exceptions, no rules, no chains, no sets. Other fields are not looked at.
  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    name = try fields.decode(String.self, forKey: .name)
    revision = try fields.decodeIfPresent(UInt64.self, forKey: .revision) ?? 0
    defaultAction = try fields.decodeWord(Fate.self, ifPresent: .defaultAction) ?? .pass
    malformed = MalformedPolicy(
      fate: try fields.decodeWord(Fate.self, ifPresent: .malformed) ?? .drop,
      exceptions: try fields.decodeIfPresent([MalformedReason: Fate].self, forKey: .malformedExceptions) ?? [:])
    rules = []
    chains = []
    sets = []
    func list(_ key: CodingKeys) throws -> (any UnkeyedDecodingContainer)? {
      guard fields.contains(key), try !fields.decodeNil(forKey: key) else { return nil }
      return try fields.nestedUnkeyedContainer(forKey: key)
    }
    if var list = try list(.rules) { rules = try readRules(from: &list) }
    if var list = try list(.chains) {
      while !list.isAtEnd {
        try checkCount(chains.count, Limits.chainsMax, "a rule set has at most", "chains", list)
        chains.append(try list.decode(Chain.self))
      }
    }
    if var list = try list(.sets) {
      while !list.isAtEnd {
        try checkCount(sets.count, Limits.setsMax, "a rule set has at most", "sets", list)
        sets.append(try list.decode(NamedSet.self))
      }
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(name, forKey: .name)
    try fields.encode(revision, forKey: .revision)
    try fields.encode(defaultAction, forKey: .defaultAction)
    try fields.encode(malformed.fate, forKey: .malformed)
    try fields.encode(malformed.exceptions, forKey: .malformedExceptions)
    try fields.encode(rules, forKey: .rules)
    if !chains.isEmpty { try fields.encode(chains, forKey: .chains) }
    if !sets.isEmpty { try fields.encode(sets, forKey: .sets) }
  }
}

extension Chain: Codable {
  private enum CodingKeys: String, CodingKey, CaseIterable { case name, comment, rules }

  /// Missing: no comment, no rules. An unknown field is an error.
  public init(from decoder: any Decoder) throws {
    try refuseUnknownKeys(in: decoder, of: "a chain", known: CodingKeys.allCases.map(\.rawValue))
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    self.init(
      name: try fields.decode(String.self, forKey: .name),
      comment: try fields.decodeIfPresent(String.self, forKey: .comment) ?? "")
    guard fields.contains(.rules), try !fields.decodeNil(forKey: .rules) else { return }
    var list = try fields.nestedUnkeyedContainer(forKey: .rules)
    rules = try readRules(from: &list)
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(name, forKey: .name)
    if !comment.isEmpty { try fields.encode(comment, forKey: .comment) }
    try fields.encode(rules, forKey: .rules)
  }
}

extension NamedSet: Codable {
  private enum CodingKeys: String, CodingKey, CaseIterable { case name, type, comment, counters, elements }

  /// Missing: no comment, no counters, no elements. An unknown field is an error.
  public init(from decoder: any Decoder) throws {
    try refuseUnknownKeys(in: decoder, of: "a set", known: CodingKeys.allCases.map(\.rawValue))
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    guard let kind = try fields.decodeWord(Kind.self, ifPresent: .type) else {
      throw DecodingError.dataCorruptedError(forKey: .type, in: fields, debugDescription: "a set has a type")
    }
    self.init(
      name: try fields.decode(String.self, forKey: .name), kind: kind,
      comment: try fields.decodeIfPresent(String.self, forKey: .comment) ?? "")
    hasCounters = try fields.decodeIfPresent(Bool.self, forKey: .counters) ?? false
    guard fields.contains(.elements), try !fields.decodeNil(forKey: .elements) else { return }
    var list = try fields.nestedUnkeyedContainer(forKey: .elements)
    var elements: [SetMember] = []
    while !list.isAtEnd {
      try checkCount(elements.count, Limits.setElementsMax, "the sets of a rule set have at most", "elements", list)
      let text = try list.decode(String.self)
      do throws(ValueTextError) {
        elements.append(try SetMember(parsing: text, for: kind))
      } catch {
        // Not the list's own place, which is that of the next one by now.
        let path = list.codingPath + [IndexKey(elements.count)]
        throw DecodingError.dataCorrupted(.init(codingPath: path, debugDescription: error.description))
      }
    }
    insert(elements)
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(name, forKey: .name)
    try fields.encode(kind, forKey: .type)
    if !comment.isEmpty { try fields.encode(comment, forKey: .comment) }
    if hasCounters { try fields.encode(true, forKey: .counters) }
    try fields.encode(texts, forKey: .elements)
  }
}

private struct IndexKey: CodingKey {
  let intValue: Int?
  var stringValue: String { intValue.map(String.init) ?? "" }

  init(_ index: Int) { intValue = index }
  init?(intValue: Int) { self.init(intValue) }
  init?(stringValue: String) { return nil }
}

private func readRules(from list: inout any UnkeyedDecodingContainer) throws -> RuleList {
  var rules = RuleList()
  while !list.isAtEnd {
    try checkCount(rules.count, Limits.rulesMax, "a rule set has at most", "rules", list)
    rules.append(try list.decode(Rule.self))
  }
  return rules
}

private func checkCount(
  _ count: Int, _ limit: Int, _ subject: String, _ what: String, _ list: any UnkeyedDecodingContainer
) throws {
  guard count < limit else {
    throw DecodingError.dataCorruptedError(in: list, debugDescription: "\(subject) \(limit) \(what)")
  }
}
