/// What the rounds of one program gave: one value each, in the order they ran.
public struct Series: Hashable, Sendable {
  public var values: [Double]

  public init(_ values: [Double] = []) { self.values = values }

  /// The middle value, or the mean of the two in the middle; nil without values.
  public var median: Double? {
    if values.isEmpty { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  public var least: Double? { values.min() }
  public var greatest: Double? { values.max() }

  /// The median of each round's quotient: both ran within seconds, so what else the machine did weighs least.
  ///
  /// Rounds that only one of both has are left out, and those where `other` is 0.
  public func ratio(to other: Series) -> Double? {
    Series(zip(values, other.values).filter { $0.1 != 0 }.map { $0.0 / $0.1 }).median
  }
}
