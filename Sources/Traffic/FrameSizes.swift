import Packets

/// Sizes of a flow's frames in the order they are taken, round and round. Bytes from the Ethernet header on, without the
/// frame check sequence: 4 fewer than on the wire.
public struct FrameSizes: Hashable, Sendable {
  /// One round; 1 ... ``roundMax`` sizes.
  public let round: [Int]
  private let isIMIX: Bool

  /// Sizes in a round: the sum of the weights.
  public static let roundMax = 8192

  /// The simple Internet mix: 7 : 4 : 1 frames of 64, 570 and 1518 bytes on the wire, which are 60, 566 and 1514 here.
  public static let imix = FrameSizes(weighted: [(60, 7), (566, 4), (1514, 1)], isIMIX: true)

  /// All of one size. Traps outside of ``TrafficLimits``.
  public init(_ byteCount: Int) { self.init(weighted: [(byteCount, 1)], isIMIX: false) }

  private static let hint = "write a size, sizes with weights as in 64:7,570:4,1518:1, a range as in 64-1518, or imix"

  /// `64`, `64-1518` (each size of the range once a round), `64:7,570:4,1518:1` (SIZE:WEIGHT, mixed evenly), `imix`.
  /// Parts are separated by `,` or, inside a flow, by `/`.
  public init(parsing text: String) throws(TrafficError) {
    var cursor = TextCursor(text)
    if cursor.takeWord() == "imix" {
      guard cursor.isAtEnd else { throw cursor.fault("imix stands alone: \(FrameSizes.hint)") }
      self = .imix
      return
    }
    cursor = TextCursor(text)
    var weighted: [(Int, Int)] = []
    var room = FrameSizes.roundMax
    repeat {
      let start = cursor.offset
      let first = try FrameSizes.size(&cursor)
      if cursor.take("-") {
        let lastStart = cursor.offset
        let last = try FrameSizes.size(&cursor)
        guard first <= last else { throw cursor.fault("\(first)-\(last) ends before it begins", at: lastStart) }
        weighted += (first...last).map { ($0, 1) }
        room -= last - first + 1
      } else {
        let weight = cursor.take(":") ? try FrameSizes.number(&cursor, 1...TrafficLimits.weightMax, "a weight") : 1
        weighted.append((first, weight))
        room -= weight
      }
      guard room >= 0 else {
        throw cursor.fault("the weights add up to more than \(FrameSizes.roundMax)", at: start)
      }
    } while cursor.take(",") || cursor.take("/")
    guard cursor.isAtEnd else { throw cursor.fault("sizes end here: \(FrameSizes.hint)") }
    self.init(weighted: weighted, isIMIX: false)
  }

  private init(weighted: [(size: Int, weight: Int)], isIMIX: Bool) {
    let limits = TrafficLimits.frameByteCountMin...TrafficLimits.frameByteCountMax
    precondition(weighted.allSatisfy { limits.contains($0.size) && $0.weight > 0 }, "sizes in their limits")
    self.isIMIX = isIMIX
    let divisor = Int(weighted.reduce(0 as UInt64) { greatestCommonDivisor($0, UInt64($1.weight)) })
    // Each size at even distances: its k-th of n stands at (2k + 1) / 2n of the round.
    var places: [(size: Int, place: Int, of: Int)] = []
    for (size, weight) in weighted {
      let times = weight / divisor
      places += (0..<times).map { (size, 2 * $0 + 1, 2 * times) }
    }
    let isWeighted = weighted.contains { $0.weight != weighted[0].weight }
    if isWeighted { places.sort { ($0.place * $1.of, $0.size) < ($1.place * $0.of, $1.size) } }
    round = places.map(\.size)
  }

  private static func size(_ cursor: inout TextCursor) throws(TrafficError) -> Int {
    try number(&cursor, TrafficLimits.frameByteCountMin...TrafficLimits.frameByteCountMax, "a size")
  }

  private static func number(
    _ cursor: inout TextCursor, _ range: ClosedRange<Int>, _ name: String
  ) throws(TrafficError) -> Int {
    let start = cursor.offset
    guard let value = cursor.takeWhole(in: range) else {
      throw cursor.fault(
        "\(name) is a whole number from \(range.lowerBound) to \(range.upperBound): \(hint)", at: start)
    }
    return value
  }

  /// Mean, bytes.
  public var mean: Double { Double(round.reduce(0, +)) / Double(round.count) }

  /// `imix`, or sizes and their shares.
  public var description: String {
    if isIMIX { return "imix" }
    guard let least = round.min(), let most = round.max() else { return "" }
    return least == most ? "\(least)" : "\(least)-\(most)"
  }
}
