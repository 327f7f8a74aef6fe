import Packets
import Rules

// What conditions leave, in the fewest pieces that tables can hold.

extension Condition {
  /// The numbers that are left, in the fewest ranges, upwards.
  func ranges(most: UInt32, bounds: (Element) -> (low: UInt32, high: UInt32)) -> [NumberRange] {
    var joined: [NumberRange] = []
    for (low, high) in elements.map(bounds).sorted(by: { $0.low < $1.low }) {
      if let last = joined.last, low <= last.high &+ 1 {
        joined[joined.count - 1] = NumberRange(low: last.low, high: Swift.max(last.high, high))
      } else {
        joined.append(NumberRange(low: low, high: high))
      }
    }
    guard isNegated else { return joined }
    var gaps: [NumberRange] = []
    var next: UInt32 = 0
    for range in joined {
      if range.low > next { gaps.append(NumberRange(low: next, high: range.low - 1)) }
      next = range.high + 1
    }
    if next <= most { gaps.append(NumberRange(low: next, high: most)) }
    return gaps
  }
}

extension Condition<TCPFlagTest> {
  func ternaries(_ work: inout Expansion.Work) throws(Expansion.ListTooLong) -> [Ternary] {
    try left(of: elements.map { Ternary(value: UInt64($0.set), mask: UInt64($0.mask)) }, &work)
  }
}

extension Condition<MACPattern> {
  func ternaries(_ work: inout Expansion.Work) throws(Expansion.ListTooLong) -> [Ternary] {
    try isEmpty ? [Ternary()] : left(of: elements.map { Ternary(value: $0.address.value, mask: $0.mask.value) }, &work)
  }
}

extension Condition {
  /// The tests, each once; negated, what none of them matches, without overlaps. Masks that cross each other leave very
  /// many pieces: more than ``Limits/entriesMax`` of them are too many.
  func left(of tests: [Ternary], _ work: inout Expansion.Work) throws(Expansion.ListTooLong) -> [Ternary] {
    guard isNegated else {
      var seen: Set<Ternary> = []
      return tests.filter { seen.insert($0).inserted }
    }
    var pieces = [Ternary()]
    for test in tests {
      var rest: [Ternary] = []
      try work.spend(pieces.count)
      for piece in pieces {
        piece.subtract(test, into: &rest)
        if rest.count > Limits.entriesMax { throw Expansion.ListTooLong() }
      }
      pieces = rest
    }
    return pieces
  }
}

extension Ternary {
  /// The fewest that match the numbers of a range.
  static func covering(_ range: NumberRange, bitCount: Int) -> [Ternary] {
    var result: [Ternary] = []
    var next = UInt64(range.low)
    let all = (1 << UInt64(bitCount)) - 1 as UInt64
    while next <= UInt64(range.high) {
      var free = Swift.min(next == 0 ? bitCount : next.trailingZeroBitCount, bitCount)
      while next + (1 << UInt64(free)) - 1 > UInt64(range.high) { free -= 1 }
      result.append(Ternary(value: next, mask: all & ~((1 << UInt64(free)) - 1)))
      next += 1 << UInt64(free)
    }
    return result
  }

  /// Appends what it matches and `other` doesn't, without overlaps.
  func subtract(_ other: Ternary, into pieces: inout [Ternary]) {
    if contradicts(other) { return pieces.append(self) }
    var fixed = self
    var free = other.mask & ~mask
    while free != 0 {
      let bit = free & (0 &- free)
      pieces.append(Ternary(value: fixed.value | (~other.value & bit), mask: fixed.mask | bit))
      fixed = Ternary(value: fixed.value | (other.value & bit), mask: fixed.mask | bit)
      free &= ~bit
    }
  }

  /// Two halves of 32 bits.
  init(high: Ternary, low: Ternary) {
    self.init(value: high.value << 32 | low.value, mask: high.mask << 32 | low.mask)
  }
}

extension IPPrefix? {
  /// Of an IPv4 prefix, in the low half; nil is any.
  var ternary32: Ternary {
    guard let self else { return Ternary() }
    return Ternary(
      value: UInt64(truncatingIfNeeded: self.address.value), mask: UInt64(truncatingIfNeeded: self.mask))
  }

  /// Of an IPv6 prefix; nil is any.
  var ternary128: (high: Ternary, low: Ternary) {
    guard let self else { return (Ternary(), Ternary()) }
    func half(_ shift: UInt128) -> Ternary {
      Ternary(
        value: UInt64(truncatingIfNeeded: self.address.value >> shift),
        mask: UInt64(truncatingIfNeeded: self.mask >> shift))
    }
    return (half(64), half(0))
  }
}
