import Packets

// The order in which a set keeps its elements, each once.

/// Elements and, one by one, their ends, if any has one.
typealias Timed<Element> = (elements: [Element], expiries: [Expiry?])

extension IPPrefix {
  static func areInOrder(_ left: IPPrefix, _ right: IPPrefix) -> Bool {
    (left.address.value, left.length) < (right.address.value, right.length)
  }

  /// Equal ones stay as they stand to each other.
  static func inOrder(_ prefixes: [IPPrefix], _ expiries: [Expiry?]) -> Timed<IPPrefix> {
    let keys = prefixes.map { (value: $0.address.value, length: $0.length) }
    let order = keys.indices.sorted { (keys[$0].value, keys[$0].length, $0) < (keys[$1].value, keys[$1].length, $1) }
    return (order.map { prefixes[$0] }, expiries.isEmpty ? [] : order.map { expiries[$0] })
  }
}

extension PortRange {
  static func areInOrder(_ left: PortRange, _ right: PortRange) -> Bool {
    left.low == right.low ? left.high > right.high : left.low < right.low
  }

  static func inOrder(_ ranges: [PortRange], _ expiries: [Expiry?]) -> Timed<PortRange> {
    let order = ranges.indices.sorted { areInOrder(ranges[$0], ranges[$1]) || (ranges[$0] == ranges[$1] && $0 < $1) }
    return (order.map { ranges[$0] }, expiries.isEmpty ? [] : order.map { expiries[$0] })
  }
}

/// Two lists in order as one, each element once, with the end that it has on the right or last.
func merged<Element: Equatable>(
  _ left: Timed<Element>, _ right: Timed<Element>, _ precedes: (Element, Element) -> Bool
) -> Timed<Element> {
  let isTimed = !left.expiries.isEmpty || !right.expiries.isEmpty
  var result: Timed<Element> = ([], [])
  result.elements.reserveCapacity(left.elements.count + right.elements.count)
  if isTimed { result.expiries.reserveCapacity(left.elements.count + right.elements.count) }
  func add(_ side: Timed<Element>, _ index: Int) {
    let expiry = side.expiries.isEmpty ? nil : side.expiries[index]
    if result.elements.last == side.elements[index] {
      if isTimed { result.expiries[result.expiries.count - 1] = expiry }
      return
    }
    result.elements.append(side.elements[index])
    if isTimed { result.expiries.append(expiry) }
  }
  var (i, j) = (0, 0)
  while i < left.elements.count || j < right.elements.count {
    if j == right.elements.count
      || (i < left.elements.count && !precedes(right.elements[j], left.elements[i]))
    {
      add(left, i)
      i += 1
    } else {
      add(right, j)
      j += 1
    }
  }
  return result
}

extension Array {
  /// Of what is in order, the first place that is not before; ``count`` where all are.
  func firstPlace(isBefore: (Element) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Index of an element that is there just so, of what is in order.
  func place(of element: Element, _ areInOrder: (Element, Element) -> Bool) -> Int? where Element: Equatable {
    let index = firstPlace { areInOrder($0, element) }
    return index < count && self[index] == element ? index : nil
  }

  /// Those of which it says so; empty: it is empty.
  func keeping(_ stays: [Bool]) -> [Element] {
    if isEmpty { return [] }
    var result: [Element] = []
    result.reserveCapacity(count)
    for index in indices where stays[index] { result.append(self[index]) }
    return result
  }
}
