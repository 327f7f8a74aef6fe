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
  /// Whether packets and bytes are counted for each element; see ``CountedElement``. Only of sets of addresses.
  public var hasCounters = false
  /// Of sets of addresses: all of the kind's family, by address, the wider first.
  public private(set) var prefixes: [IPPrefix]
  /// How many prefixes there are of each length.
  private var lengthCounts: [Int] = []
  /// Of sets of ports: by the first port, the wider first.
  public private(set) var ports: [PortRange]
  /// When they end, one by one; empty where none does: 16 bytes for each element of a set in which one does.
  private(set) var expiries: [Expiry?] = []

  /// Prefixes of the other family may not be among `prefixes`.
  public init(name: String, family: IPFamily, comment: String = "", prefixes: [IPPrefix] = []) {
    precondition(prefixes.allSatisfy { $0.family == family }, "a set's prefixes are of its family")
    self.name = name
    self.comment = comment
    kind = family == .ipv4 ? .ipv4 : .ipv6
    (self.prefixes, ports) = ([], [])
    self.prefixes = merged(([], []), IPPrefix.inOrder(prefixes, []), IPPrefix.areInOrder).elements
    countLengths()
  }

  public init(name: String, comment: String = "", ports: [PortRange]) {
    self.name = name
    self.comment = comment
    kind = .ports
    (prefixes, self.ports) = ([], [])
    self.ports = merged(([], []), PortRange.inOrder(ports, []), PortRange.areInOrder).elements
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

  /// The longest element that the address is in.
  public func longestElement(holding address: IPAddress) -> IPPrefix? {
    guard address.family == family else { return nil }
    return lengthCounts.indices.reversed().lazy.filter { lengthCounts[$0] > 0 }
      .map { IPPrefix(address, length: $0) }.first { place(of: $0) != nil }
  }

  /// Index of an element that is there just so.
  private func place(of prefix: IPPrefix) -> Int? { prefixes.place(of: prefix, IPPrefix.areInOrder) }

  private func place(of range: PortRange) -> Int? { ports.place(of: range, PortRange.areInOrder) }

  /// Index of the first element behind this one, whether it is there itself or not; ``count`` where there is none. The
  /// element is one that fits the set's kind.
  public func index(behind element: SetElement) -> Int {
    switch element {
    case .prefix(let prefix): prefixes.firstPlace { !IPPrefix.areInOrder(prefix, $0) }
    case .ports(let range): ports.firstPlace { !PortRange.areInOrder(range, $0) }
    }
  }

  /// As many elements as are put in one by one, or taken out: more of them are faster together.
  private static let fewMax = 4

  /// Leaves some of the elements, spread over all, where there are more than so many.
  public mutating func thinOut(to most: Int) {
    guard count > most else { return }
    let step = (count + most - 1) / most
    prefixes = stride(from: 0, to: prefixes.count, by: step).map { prefixes[$0] }
    ports = stride(from: 0, to: ports.count, by: step).map { ports[$0] }
    expiries = stride(from: 0, to: expiries.count, by: step).map { expiries[$0] }
    if kind != .ports { countLengths() }
    dropNoExpiries()
  }

  public func contains(_ port: UInt16) -> Bool { ports.contains { $0.contains(port) } }

  /// All of them, in order.
  public var elements: [SetElement] { prefixes.map(SetElement.prefix) + ports.map(SetElement.ports) }

  /// A part of them, in order, with their ends.
  public func members(_ range: Range<Int>) -> [SetMember] {
    let elements = kind == .ports ? ports[range].map(SetElement.ports) : prefixes[range].map(SetElement.prefix)
    if expiries.isEmpty { return elements.map { SetMember($0) } }
    return zip(elements, expiries[range]).map { SetMember($0, $1) }
  }

  /// A part of them as ``SetMember/text``.
  public func texts(_ range: Range<Int>) -> [String] {
    guard expiries.isEmpty else { return members(range).map(\.text) }
    return kind == .ports ? ports[range].map(\.description) : prefixes[range].map(\.description)
  }

  public var texts: [String] { texts(0..<count) }
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

  /// Elements that never end. See ``insert(_:)-[SetMember]``.
  @discardableResult
  public mutating func insert(_ elements: [SetElement]) -> Int { insert(elements.map { SetMember($0) }) }

  /// Elements must be of the set's kind; one that is there already ends when it is said here, or never. Of one that is said
  /// twice the last counts.
  ///
  /// - Returns: How many are new.
  @discardableResult
  public mutating func insert(_ members: [SetMember]) -> Int {
    let before = count
    let isTimed = !expiries.isEmpty || members.contains { $0.expiry != nil }
    if isTimed, expiries.isEmpty { expiries = Array(repeating: nil, count: before) }
    if kind != .ports, members.count <= NamedSet.fewMax {
      for member in members { insertOne(member, isTimed: isTimed) }
    } else {
      let ends = isTimed ? members.map(\.expiry) : []
      if kind == .ports {
        let new = members.compactMap { if case .ports(let ports) = $0.element { ports } else { nil } }
        (ports, expiries) = merged((ports, expiries), PortRange.inOrder(new, ends), PortRange.areInOrder)
      } else {
        let new = members.compactMap { if case .prefix(let prefix) = $0.element { prefix } else { nil } }
        (prefixes, expiries) = merged((prefixes, expiries), IPPrefix.inOrder(new, ends), IPPrefix.areInOrder)
        countLengths()
      }
    }
    dropNoExpiries()
    return count - before
  }

  private mutating func insertOne(_ member: SetMember, isTimed: Bool) {
    guard case .prefix(let prefix) = member.element else { return }
    let index = prefixes.firstPlace { IPPrefix.areInOrder($0, prefix) }
    if index < prefixes.count, prefixes[index] == prefix {
      if isTimed { expiries[index] = member.expiry }
      return
    }
    prefixes.insert(prefix, at: index)
    lengthCounts[prefix.length] += 1
    if isTimed { expiries.insert(member.expiry, at: index) }
  }

  /// Equal sets are equal values.
  private mutating func dropNoExpiries() {
    if !expiries.isEmpty, expiries.allSatisfy({ $0 == nil }) { expiries = [] }
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
        if !expiries.isEmpty { expiries.remove(at: index) }
      }
      dropNoExpiries()
    } else {
      let gone = Set(elements)
      keep(kind == .ports ? ports.map { !gone.contains(.ports($0)) } : prefixes.map { !gone.contains(.prefix($0)) })
    }
    return before - count
  }

  private mutating func keep(_ stays: [Bool]) {
    prefixes = prefixes.keeping(stays)
    ports = ports.keeping(stays)
    expiries = expiries.keeping(stays)
    if kind != .ports { countLengths() }
    dropNoExpiries()
  }

  /// Those that have ended by a moment, in order.
  public func ended(atUnixMilliseconds now: Int64) -> [SetElement] {
    expiries.indices.filter { expiries[$0]?.hasEnded(atUnixMilliseconds: now) ?? false }
      .map { kind == .ports ? .ports(ports[$0]) : .prefix(prefixes[$0]) }
  }

  /// Takes them out.
  ///
  /// - Returns: How many there were.
  @discardableResult
  public mutating func removeEnded(atUnixMilliseconds now: Int64) -> Int {
    let stays = expiries.map { !($0?.hasEnded(atUnixMilliseconds: now) ?? false) }
    let before = count
    if stays.contains(false) { keep(stays) }
    return before - count
  }

  /// As ``RuleSet/fixExpiry(atUnixMilliseconds:)``.
  mutating func fixExpiry(atUnixMilliseconds now: Int64) {
    for index in expiries.indices { expiries[index] = expiries[index]?.fixed(atUnixMilliseconds: now) }
  }

  /// What stays when all that ends has ended.
  var lasting: NamedSet {
    var set = self
    set.removeEnded(atUnixMilliseconds: .max)
    return set
  }

  /// When the next element ends, in milliseconds since 1970, and how many will; nil: none.
  public var nextEnd: (unixMilliseconds: Int64, count: Int)? {
    var count = 0
    var next = Int64.max
    for case .at(let moment)? in expiries {
      count += 1
      next = min(next, moment)
    }
    return count == 0 ? nil : (next, count)
  }

  /// When an element that is there ends; nil: never, or it isn't there.
  public func expiry(of element: SetElement) -> Expiry? {
    if expiries.isEmpty { return nil }
    let index =
      switch element {
      case .prefix(let prefix): place(of: prefix)
      case .ports(let range): place(of: range)
      }
    return index.flatMap { expiries[$0] }
  }

  /// What makes this set of an older one of its kind: elements that are new or have another end, and those that are gone.
  /// Takes as long as both are.
  public func difference(from old: NamedSet) -> (inserted: [SetMember], removed: [SetElement]) {
    precondition(kind == old.kind, "sets of one kind")
    var (inserted, removed): ([SetMember], [SetElement]) = ([], [])
    func compare<Element: Equatable>(
      _ new: [Element], _ former: [Element], _ precedes: (Element, Element) -> Bool, _ wrap: (Element) -> SetElement
    ) {
      var (i, j) = (0, 0)
      while i < new.count || j < former.count {
        if j == former.count || (i < new.count && precedes(new[i], former[j])) {
          inserted.append(SetMember(wrap(new[i]), expiry(at: i)))
          i += 1
        } else if i == new.count || precedes(former[j], new[i]) {
          removed.append(wrap(former[j]))
          j += 1
        } else {
          if expiry(at: i) != old.expiry(at: j) { inserted.append(SetMember(wrap(new[i]), expiry(at: i))) }
          (i, j) = (i + 1, j + 1)
        }
      }
    }
    compare(prefixes, old.prefixes, IPPrefix.areInOrder, SetElement.prefix)
    compare(ports, old.ports, PortRange.areInOrder, SetElement.ports)
    return (inserted, removed)
  }

  private func expiry(at index: Int) -> Expiry? { expiries.isEmpty ? nil : expiries[index] }

  public func contains(_ element: SetElement) -> Bool {
    switch element {
    case .prefix(let prefix): place(of: prefix) != nil
    case .ports(let range): place(of: range) != nil
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
