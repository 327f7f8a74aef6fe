/// A rate that changes step by step: `10%:100%:10%:5s`, `100kpps:1Mpps:50kpps:500ms`.
public struct TrafficRamp: Hashable, Sendable {
  public struct Step: Hashable, Sendable {
    public let rate: TrafficRate
    public let nanoseconds: UInt64
  }

  /// In order; one or more.
  public let steps: [Step]

  public static let stepCountMax = 1000
  private static let hint = "write FROM:TO:STEP:EVERY, for example 10%:100%:10%:5s or 100kpps:1Mpps:100kpps:2s"

  /// Four parts separated by colons: first rate, last rate, how much from one to the next, time of each. The last rate
  /// is reached exactly, by a smaller step where need be; a ramp may go down.
  ///
  /// - Parameter whole: What per cent are of.
  public init(parsing text: String, whole: TrafficRate?) throws(TrafficError) {
    var cursor = TextCursor(text)
    var rates: [TrafficRate] = []
    for _ in 0..<3 {
      let start = cursor.offset
      let rate = try TrafficRamp.rate(&cursor, whole)
      if let first = rates.first, first.unit != rate.unit {
        throw cursor.fault("a ramp's rates are all of packets, or all of bits of one layer", at: start)
      }
      rates.append(rate)
      guard cursor.take(":") else { throw cursor.fault("a ramp has \":\" here: \(TrafficRamp.hint)") }
    }
    let nanoseconds = try TrafficRamp.time(&cursor)
    guard cursor.isAtEnd else { throw cursor.fault("a ramp ends here: \(TrafficRamp.hint)") }
    let (from, to, step) = (rates[0].millionths, rates[1].millionths, rates[2].millionths)
    guard from > 0, to > 0 else { throw cursor.fault("a ramp's rates are above 0", at: 0) }
    guard step > 0 || from == to else { throw cursor.fault("a step of 0 never gets there", at: 0) }
    let distance = from < to ? to - from : from - to
    let wholeSteps = step == 0 ? 0 : distance / step
    let count = 1 + wholeSteps + (step > 0 && distance % step > 0 ? 1 : 0)
    guard count <= UInt64(TrafficRamp.stepCountMax) else {
      throw cursor.fault("the ramp has \(count) steps, more than \(TrafficRamp.stepCountMax): take greater ones", at: 0)
    }
    steps = (0..<count).map { index in
      let moved = min(index * step, distance)
      let rate = TrafficRate(unit: rates[0].unit, millionths: from < to ? from + moved : from - moved)
      return Step(rate: rate, nanoseconds: nanoseconds)
    }
  }

  private static func rate(_ cursor: inout TextCursor, _ whole: TrafficRate?) throws(TrafficError) -> TrafficRate {
    var ahead = cursor
    let start = cursor.offset
    guard let number = ahead.takeMillionths(), ahead.take("%") else { return try TrafficRate(&cursor) }
    guard let whole else { throw cursor.fault("per cent are of --rate, which is missing", at: start) }
    let value = UInt128(whole.millionths) * UInt128(number) / 100_000_000
    let limit = whole.unit == .packets ? TrafficLimits.packetsPerSecondMax : TrafficRate.bitsPerSecondMax
    guard value <= UInt128(limit) * 1_000_000 else {
      throw cursor.fault("a rate is at most 1 Gpps or 1 Tbit", at: start)
    }
    cursor = ahead
    return TrafficRate(unit: whole.unit, millionths: UInt64(value))
  }

  private static func time(_ cursor: inout TextCursor) throws(TrafficError) -> UInt64 {
    let start = cursor.offset
    let number = cursor.takeMillionths()
    let units: [String: UInt64] = ["ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "": 1_000_000_000]
    guard let number, let unit = units[cursor.takeWord()] else {
      throw cursor.fault("no time: write 500ms, 5s or 1m", at: start)
    }
    let nanoseconds = UInt128(number) * UInt128(unit) / 1_000_000
    guard nanoseconds >= 1_000_000, nanoseconds <= UInt128(TrafficLimits.durationNanosecondsMax) else {
      throw cursor.fault("a step lasts 1 ms to 31 days", at: start)
    }
    return UInt64(nanoseconds)
  }
}
