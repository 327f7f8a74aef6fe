public import Packets

/// An element in a text: one of a set, or one to put in or to take out.
public enum SetElement: Hashable, Sendable {
  case prefix(IPPrefix)
  case ports(PortRange)

  public init(parsing text: String, for kind: NamedSet.Kind) throws(ValueTextError) {
    guard kind != .ports else {
      self = .ports(try PortRange(parsing: text))
      return
    }
    let prefix = try IPPrefix(parsing: text)
    guard (prefix.family == .ipv4) == (kind == .ipv4) else {
      throw ValueTextError(
        expected: "an element of a set of \(kind.rawValue)", text: text, reason: "it is \(prefix.family)",
        suggestion: "it into a set of its own family; a match may name both")
    }
    self = .prefix(prefix)
  }
}

extension SetElement {
  /// A prefix, or ports.
  public init(parsing text: String) throws(ValueTextError) {
    let isPrefix = text.utf8.contains { $0 == 0x2e || $0 == 0x3a }  // dots and colons are in no range of ports
    self = isPrefix ? .prefix(try IPPrefix(parsing: text)) : .ports(try PortRange(parsing: text))
  }

  /// As matches have it.
  public var text: String {
    switch self {
    case .prefix(let prefix): prefix.description
    case .ports(let range): range.description
    }
  }

  public func fits(_ kind: NamedSet.Kind) -> Bool {
    switch self {
    case .prefix(let prefix): kind == (prefix.family == .ipv4 ? .ipv4 : .ipv6)
    case .ports: kind == .ports
    }
  }
}

/// An element of a set and when it ends there.
public struct SetMember: Hashable, Sendable {
  public var element: SetElement
  /// Nil: never.
  public var expiry: Expiry?

  public init(_ element: SetElement, _ expiry: Expiry? = nil) {
    self.element = element
    self.expiry = expiry
  }

  /// `192.0.2.1`, `192.0.2.1 timeout 1h` (`s`, `m`, `h`, `d`, from when it is accepted), or
  /// `192.0.2.1 expires 2026-11-21T15:38:47Z`.
  public init(parsing text: String, for kind: NamedSet.Kind) throws(ValueTextError) {
    try self.init(parsing: text) { (word) throws(ValueTextError) in try SetElement(parsing: word, for: kind) }
  }

  /// The same, prefix or ports.
  public init(parsing text: String) throws(ValueTextError) {
    try self.init(parsing: text) { (word) throws(ValueTextError) in try SetElement(parsing: word) }
  }

  private init(
    parsing text: String, _ element: (String) throws(ValueTextError) -> SetElement
  ) throws(ValueTextError) {
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    guard text.utf8.contains(where: isBlank) else {
      self.init(try element(text))
      return
    }
    let words = text.utf8.split(whereSeparator: isBlank).map { String(Substring($0)) }
    guard words.count == 3, let name = EndWord(rawValue: words[1]) else {
      throw ValueTextError(
        expected: "an element of a set", text: text, reason: "behind the element stands when it ends, or nothing",
        suggestion: "192.0.2.1 timeout 1h")
    }
    self.init(try element(words[0]), try name.expiry(words[2]))
  }

  /// What comes behind an element.
  enum EndWord: String, CaseIterable {
    case timeout, expires

    func expiry(_ text: String) throws(ValueTextError) -> Expiry {
      let expiry = try Expiry(parsing: text)
      if self == .timeout, case .at = expiry {
        throw ValueTextError(
          expected: "a timeout", text: text, reason: "it is a moment", suggestion: "expires \(text), or timeout 1h")
      }
      return expiry
    }
  }

  public func hasEnded(atUnixMilliseconds now: Int64) -> Bool { expiry?.hasEnded(atUnixMilliseconds: now) ?? false }

  /// As ``init(parsing:for:)`` reads it.
  public var text: String {
    guard let expiry else { return element.text }
    let word = if case .at = expiry { EndWord.expires } else { EndWord.timeout }
    return "\(element.text) \(word.rawValue) \(expiry.text)"
  }
}

extension [SetMember] {
  /// With moments for times to live that begin now.
  public func fixed(atUnixMilliseconds now: Int64) -> [SetMember] {
    map { SetMember($0.element, $0.expiry?.fixed(atUnixMilliseconds: now)) }
  }
}

extension RuleSet {
  /// Puts elements into a set that is there and takes others out, first those that go.
  ///
  /// - Parameter revision: Of what it is then.
  public mutating func change(_ set: String, inserted: [SetMember], removed: [SetElement], revision: UInt64) {
    guard let index = sets.firstIndex(where: { $0.name == set }) else { return }
    if !removed.isEmpty { sets[index].remove(removed) }
    if !inserted.isEmpty { sets[index].insert(inserted) }
    self.revision = revision
  }

  /// Takes elements out of a set that have ended by a moment.
  public mutating func removeEnded(of set: String, atUnixMilliseconds now: Int64) {
    guard let index = sets.firstIndex(where: { $0.name == set }) else { return }
    sets[index].removeEnded(atUnixMilliseconds: now)
  }
}
