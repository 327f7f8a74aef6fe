/// The elements of one field of a match: a packet must show any of them or, where the condition is negated, something else.
///
/// Without elements every packet matches. What a packet doesn't have at all (ports of a later fragment, addresses of ARP, a
/// VLAN id without a tag) it doesn't show: it then doesn't match, negated or not.
public struct Condition<Element: Hashable & Sendable>: Hashable, Sendable {
  public var elements: [Element]
  public var isNegated: Bool

  public init(_ elements: [Element] = [], isNegated: Bool = false) {
    self.elements = elements
    self.isNegated = isNegated
  }

  /// Whether a packet with this value, or without one, matches.
  func matches<Value>(_ value: Value?, _ test: (Element, Value) -> Bool) -> Bool {
    if elements.isEmpty { return true }
    guard let value else { return false }
    return elements.contains { test($0, value) } != isNegated
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
