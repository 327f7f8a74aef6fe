/// Numbers as ranges, upwards, that neither overlap nor touch.
struct ValueSet: Hashable, Sendable {
  struct Span: Hashable, Sendable {
    var low: UInt128
    var high: UInt128
  }

  private(set) var spans: [Span]

  static let empty = ValueSet(spans: [])

  private init(spans: [Span]) { self.spans = spans }

  /// Of ranges in any order; those that overlap or touch are joined.
  init(_ ranges: some Sequence<Span>) {
    spans = []
    for range in ranges.sorted(by: { $0.low < $1.low }) {
      if let last = spans.last, last.high == .max || range.low <= last.high + 1 {
        spans[spans.count - 1].high = max(last.high, range.high)
      } else {
        spans.append(range)
      }
    }
  }

  init(_ low: UInt128, through high: UInt128) { spans = [Span(low: low, high: high)] }
  init(_ numbers: some Sequence<UInt128>) { self.init(numbers.map { Span(low: $0, high: $0) }) }

  var isEmpty: Bool { spans.isEmpty }

  func contains(_ number: UInt128) -> Bool { spans.contains { $0.low <= number && number <= $0.high } }

  /// The numbers of the set that is nearest to `wanted`; the set isn't empty.
  func nearest(to wanted: UInt128) -> UInt128 {
    precondition(!spans.isEmpty, "an empty set has no number")
    if let above = spans.first(where: { $0.high >= wanted }) { return max(above.low, wanted) }
    return spans[spans.count - 1].high
  }

  func isDisjoint(from other: ValueSet) -> Bool {
    var (i, j) = (0, 0)
    while i < spans.count, j < other.spans.count {
      if spans[i].high < other.spans[j].low {
        i += 1
      } else if other.spans[j].high < spans[i].low {
        j += 1
      } else {
        return false
      }
    }
    return true
  }

  func isSubset(of other: ValueSet) -> Bool { subtracting(other).isEmpty }

  /// Whether `other` is one range that holds all of it.
  func isInOneSpan(of other: ValueSet) -> Bool {
    guard let low = spans.first?.low, let high = spans.last?.high, other.spans.count == 1 else { return false }
    return other.spans[0].low <= low && high <= other.spans[0].high
  }

  func intersection(_ other: ValueSet) -> ValueSet {
    var result: [Span] = []
    var (i, j) = (0, 0)
    while i < spans.count, j < other.spans.count {
      let (low, high) = (max(spans[i].low, other.spans[j].low), min(spans[i].high, other.spans[j].high))
      if low <= high { result.append(Span(low: low, high: high)) }
      if spans[i].high < other.spans[j].high { i += 1 } else { j += 1 }
    }
    return ValueSet(spans: result)
  }

  func subtracting(_ other: ValueSet) -> ValueSet {
    var result: [Span] = []
    var j = 0
    for var span in spans {
      while j < other.spans.count, other.spans[j].high < span.low { j += 1 }
      var k = j
      var isLeft = true
      while k < other.spans.count, other.spans[k].low <= span.high {
        let hole = other.spans[k]
        if hole.low > span.low { result.append(Span(low: span.low, high: hole.low - 1)) }
        if hole.high >= span.high {
          isLeft = false
          break
        }
        span.low = hole.high + 1
        k += 1
      }
      if isLeft { result.append(span) }
    }
    return ValueSet(spans: result)
  }
}
