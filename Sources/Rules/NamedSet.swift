public import Packets

/// Prefixes or ports under a name, for the matches of one rule set: `@blocked`.
///
/// Without order and without duplicates: elements are kept in order of their numbers, so that equal sets are equal values.
public struct NamedSet: Hashable, Sendable {
  /// What the elements are, by nftables' words.
  public enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
    case ipv4 = "ipv4_addr"
    case ipv6 = "ipv6_addr"
    case ports = "inet_service"

    /// Nil for fields that take no sets; of the address fields, either family.
    init?(field: String) {
      switch field {
      case "sources", "destinations": self = .ipv4
      case "source_ports", "destination_ports": self = .ports
      default: return nil
      }
    }
  }

  /// Unique among the rule set's sets: `[a-z0-9][a-z0-9._-]{0,62}`.
  public var name: String
  public let kind: Kind
  /// Free text, as a rule's.
  public var comment: String
  /// Of sets of addresses: all of the kind's family, by address, the wider first.
  public private(set) var prefixes: [IPPrefix]
  /// How many prefixes there are of each length.
  private var lengthCounts: [Int] = []
  /// Of sets of ports: by the first port, the wider first.
  public private(set) var ports: [PortRange]

  /// Prefixes of the other family may not be among `prefixes`.
  public init(name: String, family: IPFamily, comment: String = "", prefixes: [IPPrefix] = []) {
    precondition(prefixes.allSatisfy { $0.family == family }, "a set's prefixes are of its family")
    self.name = name
    self.comment = comment
    kind = family == .ipv4 ? .ipv4 : .ipv6
    self.prefixes = prefixes.inOrder
    ports = []
    countLengths()
  }

  public init(name: String, comment: String = "", ports: [PortRange]) {
    self.name = name
    self.comment = comment
    kind = .ports
    prefixes = []
    self.ports = ports.inOrder
  }

  private mutating func countLengths() {
    lengthCounts = Array(repeating: 0, count: IPFamily.ipv6.bitCount + 1)
    for prefix in prefixes { lengthCounts[prefix.length] += 1 }
  }

  public var count: Int { prefixes.count + ports.count }

  /// The family of a set of addresses.
  public var family: IPFamily? {
    switch kind {
    case .ipv4: .ipv4
    case .ipv6: .ipv6
    case .ports: nil
    }
  }

  /// Looks for the network of each length that the address is in.
  public func contains(_ address: IPAddress) -> Bool {
    guard address.family == family else { return false }
    return lengthCounts.indices.contains { length in
      lengthCounts[length] > 0 && place(of: IPPrefix(address, length: length)) != nil
    }
  }

  /// Index of an element that is there just so.
  private func place(of prefix: IPPrefix) -> Int? {
    let index = firstPlace(notBefore: prefix)
    return index < prefixes.count && prefixes[index] == prefix ? index : nil
  }

  private func firstPlace(notBefore prefix: IPPrefix) -> Int {
    var (low, high) = (0, prefixes.count)
    while low < high {
      let middle = (low + high) / 2
      if prefixes[middle].precedes(prefix) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// As many elements as are put in one by one, or taken out: more of them are faster together.
  private static let fewMax = 4

  /// Leaves some of the elements, spread over all, where there are more than so many.
  public mutating func thinOut(to most: Int) {
    guard count > most else { return }
    let step = (count + most - 1) / most
    prefixes = stride(from: 0, to: prefixes.count, by: step).map { prefixes[$0] }
    ports = stride(from: 0, to: ports.count, by: step).map { ports[$0] }
    if kind != .ports { countLengths() }
  }

  public func contains(_ port: UInt16) -> Bool { ports.contains { $0.contains(port) } }

  /// The elements of a part of the set as texts, as matches have them.
  public func texts(_ range: Range<Int>) -> [String] {
    kind == .ports ? ports[range].map(\.description) : prefixes[range].map(\.description)
  }

  public var texts: [String] { texts(0..<count) }

  /// All of them, in order.
  public var elements: [SetElement] { prefixes.map(SetElement.prefix) + ports.map(SetElement.ports) }
}

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

extension RuleSet {
  /// Puts elements into a set that is there and takes others out, first those that go.
  ///
  /// - Parameter revision: 0: as before.
  public mutating func change(_ set: String, inserted: [SetElement], removed: [SetElement], revision: UInt64) {
    guard let index = sets.firstIndex(where: { $0.name == set }) else { return }
    if !removed.isEmpty { sets[index].remove(removed) }
    if !inserted.isEmpty { sets[index].insert(inserted) }
    if revision != 0 { self.revision = revision }
  }
}

extension NamedSet {
  /// Without elements.
  public init(name: String, kind: Kind, comment: String = "") {
    switch kind {
    case .ipv4: self.init(name: name, family: .ipv4, comment: comment)
    case .ipv6: self.init(name: name, family: .ipv6, comment: comment)
    case .ports: self.init(name: name, comment: comment, ports: [])
    }
  }

  /// Elements must be of the set's kind; those that are there already change nothing.
  ///
  /// - Returns: How many are new.
  @discardableResult
  public mutating func insert(_ elements: [SetElement]) -> Int {
    let before = count
    let new = elements.compactMap { if case .prefix(let prefix) = $0 { prefix } else { nil } }
    if new.count <= NamedSet.fewMax {
      for prefix in new where place(of: prefix) == nil {
        prefixes.insert(prefix, at: firstPlace(notBefore: prefix))
        lengthCounts[prefix.length] += 1
      }
    } else {
      prefixes = prefixes.merging(new)
      countLengths()
    }
    ports = ports.merging(elements.compactMap { if case .ports(let ports) = $0 { ports } else { nil } })
    return count - before
  }

  /// Takes out those that are there just so; a prefix inside of another one isn't the other one.
  ///
  /// - Returns: How many there were.
  @discardableResult
  public mutating func remove(_ elements: [SetElement]) -> Int {
    let before = count
    if kind != .ports, elements.count <= NamedSet.fewMax {
      for case .prefix(let prefix) in elements {
        guard let index = place(of: prefix) else { continue }
        prefixes.remove(at: index)
        lengthCounts[prefix.length] -= 1
      }
      return before - count
    }
    let gone = Set(elements)
    prefixes.removeAll { gone.contains(.prefix($0)) }
    if kind != .ports { countLengths() }
    ports.removeAll { gone.contains(.ports($0)) }
    return before - count
  }

  public func contains(_ element: SetElement) -> Bool {
    switch element {
    case .prefix(let prefix): place(of: prefix) != nil
    case .ports(let range): ports.contains(range)
    }
  }

  /// The name in `@name`.
  static func name(inReference word: String) throws(ValueTextError) -> String {
    let name = String(word.dropFirst())
    guard isValidName(name) else {
      throw ValueTextError(expected: "@ and the name of a set", text: word, reason: "a set's name is as a rule's")
    }
    return name
  }
}

extension [IPPrefix] {
  fileprivate var inOrder: [IPPrefix] { [].merging(self) }

  /// This, in order and without duplicates, and others.
  fileprivate func merging(_ others: [IPPrefix]) -> [IPPrefix] {
    if others.isEmpty { return self }
    let keys = others.map { (value: $0.address.value, length: $0.length) }
    let order = keys.indices.sorted { (keys[$0].value, keys[$0].length) < (keys[$1].value, keys[$1].length) }
    return merged(self, order.map { others[$0] }) { $0.precedes($1) }
  }
}

extension IPPrefix {
  fileprivate func precedes(_ other: IPPrefix) -> Bool {
    (address.value, length) < (other.address.value, other.length)
  }
}

extension [PortRange] {
  fileprivate var inOrder: [PortRange] { [].merging(self) }

  fileprivate func merging(_ others: [PortRange]) -> [PortRange] {
    func precedes(_ left: PortRange, _ right: PortRange) -> Bool {
      left.low == right.low ? left.high > right.high : left.low < right.low
    }
    return others.isEmpty ? self : merged(self, others.sorted(by: precedes), precedes)
  }
}

/// Two lists in order as one, each element once.
private func merged<Element: Equatable>(
  _ left: [Element], _ right: [Element], _ precedes: (Element, Element) -> Bool
) -> [Element] {
  var result: [Element] = []
  result.reserveCapacity(left.count + right.count)
  var (i, j) = (0, 0)
  while i < left.count || j < right.count {
    let next: Element
    if j == right.count || (i < left.count && !precedes(right[j], left[i])) {
      next = left[i]
      i += 1
    } else {
      next = right[j]
      j += 1
    }
    if result.last != next { result.append(next) }
  }
  return result
}
