/// The elements of one field of a match: a packet must show any of them or, where the condition is negated, something else.
///
/// Without elements every packet matches. What a packet doesn't have at all (ports of a later fragment, addresses of ARP, a
/// VLAN id without a tag) it doesn't show: it then doesn't match, negated or not.
public struct Condition<Element: Hashable & Sendable>: Hashable, Sendable {
  public var elements: [Element]
  /// Names of sets of the rule set, whose elements belong to these. Only addresses and ports have any.
  public var sets: [String]
  public var isNegated: Bool

  public init(_ elements: [Element] = [], sets: [String] = [], isNegated: Bool = false) {
    self.elements = elements
    self.sets = sets
    self.isNegated = isNegated
  }

  /// Whether it asks for nothing: neither elements nor sets.
  public var isEmpty: Bool { elements.isEmpty && sets.isEmpty }

  /// Whether a packet with this value, or without one, matches.
  ///
  /// - Parameter isInSet: whether the value is in the set of a name.
  func matches<Value>(
    _ value: Value?, isInSet: (String, Value) -> Bool = { _, _ in false }, _ test: (Element, Value) -> Bool
  ) -> Bool {
    if isEmpty { return true }
    guard let value else { return false }
    return (elements.contains { test($0, value) } || sets.contains { isInSet($0, value) }) != isNegated
  }
}

extension Condition: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: Element...) { self.init(elements) }
}

extension Condition: RandomAccessCollection, MutableCollection, RangeReplaceableCollection {
  public init() { self.init([]) }
  public var startIndex: Int { elements.startIndex }
  public var endIndex: Int { elements.endIndex }
  public subscript(index: Int) -> Element {
    get { elements[index] }
    set { elements[index] = newValue }
  }
  public mutating func replaceSubrange(_ range: Range<Int>, with new: some Collection<Element>) {
    elements.replaceSubrange(range, with: new)
  }
}
