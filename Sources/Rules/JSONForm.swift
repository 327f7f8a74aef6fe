import Packets

/// A JSON object read strictly: an unknown key is an error, because a misspelt field of a match would widen it.
struct AnyKey: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }
  init(stringValue: String) { self.stringValue = stringValue }
  init?(intValue: Int) { nil }
}

func refuseUnknownKeys(in decoder: any Decoder, of subject: String, known: [String]) throws {
  for key in try decoder.container(keyedBy: AnyKey.self).allKeys where !known.contains(key.stringValue) {
    let name = ValueTextError.excerpt(key.stringValue)
    throw DecodingError.dataCorrupted(
      .init(
        codingPath: decoder.codingPath,
        debugDescription: "\(subject) has no field \"\(name)\"; it has \(known.joined(separator: ", "))"))
  }
}

extension Match {
  /// A condition is a list of texts or, negated, an object with the key `not` and that list.
  private struct Elements: Codable {
    var texts: [String]
    var isNegated: Bool

    private enum CodingKeys: String, CodingKey { case not }

    init(_ form: ConditionForm) {
      texts = form.elements
      isNegated = form.isNegated
    }

    init(from decoder: any Decoder) throws {
      if let fields = try? decoder.container(keyedBy: CodingKeys.self) {
        try refuseUnknownKeys(in: decoder, of: "a condition", known: ["not"])
        isNegated = true
        var list = try fields.nestedUnkeyedContainer(forKey: .not)
        texts = try Elements.read(&list)
      } else {
        isNegated = false
        var list = try decoder.unkeyedContainer()
        texts = try Elements.read(&list)
      }
    }

    private static func read(_ list: inout any UnkeyedDecodingContainer) throws -> [String] {
      var texts: [String] = []
      while !list.isAtEnd {
        if texts.count == Limits.elementsPerFieldMax {
          throw DecodingError.dataCorruptedError(
            in: list, debugDescription: "there are more than \(Limits.elementsPerFieldMax) elements; split the rule")
        }
        texts.append(try list.decode(String.self))
      }
      return texts
    }

    func encode(to encoder: any Encoder) throws {
      if isNegated {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(texts, forKey: .not)
      } else {
        var list = encoder.singleValueContainer()
        try list.encode(texts)
      }
    }
  }

  /// Missing fields are empty; an unknown field is an error.
  public init(from decoder: any Decoder) throws {
    try refuseUnknownKeys(in: decoder, of: "a match", known: Match.fieldNames)
    let fields = try decoder.container(keyedBy: AnyKey.self)
    self.init()
    for name in Match.fieldNames {
      let key = AnyKey(stringValue: name)
      guard fields.contains(key), try !fields.decodeNil(forKey: key) else { continue }
      let elements = try fields.decode(Elements.self, forKey: key)
      do throws(ConditionError) {
        try set(ConditionForm(field: name, elements: elements.texts, isNegated: elements.isNegated))
      } catch {
        throw DecodingError.dataCorruptedError(forKey: key, in: fields, debugDescription: error.description)
      }
    }
  }

  /// Only fields that have a condition.
  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: AnyKey.self)
    for form in conditions {
      try fields.encode(Elements(form), forKey: AnyKey(stringValue: form.field))
    }
  }
}

extension Rule {
  private enum CodingKeys: String, CodingKey, CaseIterable {
    case name, match, action, comment, tags, owner, chain
    case redirectTo = "redirect_to"
    case expiresAt = "expires_at"
    case ttlSeconds = "ttl_seconds"
    case isEnabled = "enabled"
  }

  /// Where a rule goes in its list, which stands beside the rule's fields in requests, and whether it has expired, which
  /// answers say: read by others.
  private static let otherKeys = ["position", "before", "after", "expired"]

  /// Missing: an empty match, no comment, enabled, no tags, no owner, no expiry. `name` and `action` are required; an unknown field is an error.
  public init(from decoder: any Decoder) throws {
    try refuseUnknownKeys(
      in: decoder, of: "a rule", known: CodingKeys.allCases.map(\.rawValue) + Self.otherKeys)
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    let word = try fields.decode(String.self, forKey: .action)
    let target = try fields.decodeIfPresent(String.self, forKey: .redirectTo)
    let chain = try fields.decodeIfPresent(String.self, forKey: .chain)
    let action: Action
    do throws(ValueTextError) {
      action = try Action(name: word, redirectTo: target, chain: chain)
    } catch {
      throw DecodingError.dataCorruptedError(forKey: .action, in: fields, debugDescription: error.description)
    }
    let expiresAt = try fields.decodeIfPresent(String.self, forKey: .expiresAt)
    let ttlSeconds = try fields.decodeIfPresent(Int64.self, forKey: .ttlSeconds)
    let expiry: Expiry?
    do throws(ValueTextError) {
      expiry = try Expiry(expiresAt: expiresAt, ttlSeconds: ttlSeconds)
    } catch {
      throw DecodingError.dataCorruptedError(forKey: .expiresAt, in: fields, debugDescription: error.description)
    }
    self.init(
      name: try fields.decode(String.self, forKey: .name),
      match: try fields.decodeIfPresent(Match.self, forKey: .match) ?? Match(), action: action,
      comment: try fields.decodeIfPresent(String.self, forKey: .comment) ?? "",
      isEnabled: try fields.decodeIfPresent(Bool.self, forKey: .isEnabled) ?? true,
      owner: try fields.decodeIfPresent(String.self, forKey: .owner) ?? "", expiry: expiry)
    guard fields.contains(.tags), try !fields.decodeNil(forKey: .tags) else { return }
    var list = try fields.nestedUnkeyedContainer(forKey: .tags)
    while !list.isAtEnd {
      if tags.count == Limits.tagsPerRuleMax {
        throw DecodingError.dataCorruptedError(
          in: list, debugDescription: "a rule has at most \(Limits.tagsPerRuleMax) tags")
      }
      tags.append(try list.decode(String.self))
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: CodingKeys.self)
    try fields.encode(name, forKey: .name)
    try fields.encode(match, forKey: .match)
    try fields.encode(action.name, forKey: .action)
    try fields.encodeIfPresent(action.redirectInterface, forKey: .redirectTo)
    try fields.encodeIfPresent(action.chain, forKey: .chain)
    try fields.encode(comment, forKey: .comment)
    try fields.encode(isEnabled, forKey: .isEnabled)
    if !tags.isEmpty { try fields.encode(tags, forKey: .tags) }
    if !owner.isEmpty { try fields.encode(owner, forKey: .owner) }
    switch expiry {
    case nil: break
    case .at: try fields.encodeIfPresent(expiry?.text, forKey: .expiresAt)
    case .after(let seconds): try fields.encode(seconds, forKey: .ttlSeconds)
    }
  }
}

extension Action {
  /// Every action's name, as in JSON and in the text form.
  public static let names = ["pass", "drop", "count", "capture", "redirect", "jump", "goto", "return"]

  /// The action of a name; `redirectTo` is required for `redirect`, `chain` for `jump` and `goto`, and both are refused for
  /// the others.
  public init(name: String, redirectTo interface: String? = nil, chain: String? = nil) throws(ValueTextError) {
    switch (name, interface, chain) {
    case ("pass", nil, nil): self = .pass
    case ("drop", nil, nil): self = .drop
    case ("count", nil, nil): self = .count
    case ("capture", nil, nil): self = .capture
    case ("redirect", let interface?, nil): self = .redirect(interface: interface)
    case ("jump", nil, let chain?): self = .jump(chain: chain)
    case ("goto", nil, let chain?): self = .goTo(chain: chain)
    case ("return", nil, nil): self = .leave
    case ("redirect", nil, _):
      throw ValueTextError(
        expected: "a complete action", text: name, reason: "a redirect names its interface in redirect_to")
    case ("jump", _, nil), ("goto", _, nil):
      throw ValueTextError(expected: "a complete action", text: name, reason: "a \(name) names its chain in chain")
    case (_, _, _?) where Self.names.contains(name):
      throw ValueTextError(expected: "an action with chain", text: name, reason: "only jump and goto lead to a chain")
    case (_, _, _) where Self.names.contains(name):
      throw ValueTextError(expected: "an action with redirect_to", text: name, reason: "only a redirect has a target")
    default:
      throw ValueTextError(
        expected: "an action", text: name, reason: "actions are \(Self.names.joined(separator: ", "))")
    }
  }

  public var name: String {
    switch self {
    case .pass: "pass"
    case .drop: "drop"
    case .count: "count"
    case .capture: "capture"
    case .redirect: "redirect"
    case .jump: "jump"
    case .goTo: "goto"
    case .leave: "return"
    }
  }

  /// The target of a redirect.
  public var redirectInterface: String? {
    if case .redirect(let interface) = self { interface } else { nil }
  }
}

extension KeyedDecodingContainer {
  /// One of a few words, where there is one; the error names them all.
  func decodeWord<Word: CaseIterable & RawRepresentable<String>>(_: Word.Type, ifPresent key: Key) throws -> Word? {
    guard let text = try decodeIfPresent(String.self, forKey: key) else { return nil }
    if let word = Word(rawValue: text) { return word }
    let words = Word.allCases.map(\.rawValue).joined(separator: ", ")
    throw DecodingError.dataCorruptedError(
      forKey: key, in: self, debugDescription: "\"\(ValueTextError.excerpt(text))\" is none of \(words)")
  }
}
