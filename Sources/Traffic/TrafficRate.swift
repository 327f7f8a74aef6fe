/// How fast to send, as it is asked for: packets or bits a second.
public struct TrafficRate: Hashable, Sendable, CustomStringConvertible {
  /// What counts as a frame's bits.
  public enum Layer: String, Hashable, Sendable, CaseIterable {
    /// The frame as its size is given everywhere here: Ethernet header to payload, check sequence not included.
    case l2
    /// What the frame takes on a line, ``lineOverheadByteCount`` more: all of 10 Gbit/s Ethernet is 10 Gbit of it.
    case l1
  }

  public enum Unit: Hashable, Sendable {
    case packets
    case bits(Layer)
  }

  public var unit: Unit
  /// Millionths of a packet or bit a second.
  public var millionths: UInt64

  /// Preamble 8, frame check sequence 4, gap between frames 12.
  public static let lineOverheadByteCount = 24
  /// 1 Tbit/s.
  public static let bitsPerSecondMax: UInt64 = 1_000_000_000_000

  public init(packetsPerSecond: UInt64) {
    precondition(packetsPerSecond <= TrafficLimits.packetsPerSecondMax, "a rate in its limits")
    unit = .packets
    millionths = packetsPerSecond * 1_000_000
  }

  init(unit: Unit, millionths: UInt64) {
    self.unit = unit
    self.millionths = millionths
  }

  static let hint = "write 100000, 250kpps, 1.5Mpps, 800Mbit, 5Gbit or 10Gbit/l1"

  /// `100000`, `1.5Mpps`, `5Gbit`, `10Gbit/l1`; capitals don't matter, `bps` is `bit`.
  public init(parsing text: String) throws(TrafficError) {
    var cursor = TextCursor(text)
    self = try TrafficRate(&cursor)
    guard cursor.isAtEnd else { throw cursor.fault("a rate ends here: \(TrafficRate.hint)") }
  }

  init(_ cursor: inout TextCursor) throws(TrafficError) {
    let start = cursor.offset
    guard let number = cursor.takeMillionths() else {
      throw cursor.fault("a rate begins with a number of at most 13 digits and 6 decimals: \(TrafficRate.hint)")
    }
    let unitStart = cursor.offset
    let word = cursor.takeWord()
    let prefixes: [Character: UInt64] = ["k": 1000, "m": 1_000_000, "g": 1_000_000_000, "t": 1_000_000_000_000]
    let factor = word.first.flatMap { prefixes[$0] }
    switch factor == nil ? Substring(word) : word.dropFirst() {
    case "", "pps", "p": unit = .packets
    case "bit", "bps", "bits": unit = .bits(.l2)
    default: throw cursor.fault("\"\(word)\" is no unit of a rate: \(TrafficRate.hint)", at: unitStart)
    }
    if case .bits = unit, cursor.take("/") {
      let layerStart = cursor.offset
      let isL1 = cursor.take("l") || cursor.take("L") ? (cursor.take("1"), cursor.take("2")) : (false, false)
      guard isL1.0 != isL1.1 else {
        throw cursor.fault("bits are counted of l1 (with preamble, check sequence and gap) or l2", at: layerStart)
      }
      unit = .bits(isL1.0 ? .l1 : .l2)
    }
    let limit = unit == .packets ? TrafficLimits.packetsPerSecondMax : TrafficRate.bitsPerSecondMax
    let (value, overflow) = number.multipliedReportingOverflow(by: factor ?? 1)
    guard !overflow, value <= limit * 1_000_000 else {
      throw cursor.fault("a rate is at most 1 Gpps or 1 Tbit", at: start)
    }
    millionths = value
  }

  /// For frames of this size on average: `byteCount` bytes in `frameCount` frames. nil for 0, and for more than
  /// ``TrafficLimits/packetsPerSecondMax``.
  public func packetRate(byteCount: UInt64, frameCount: UInt64) -> PacketRate? {
    guard millionths > 0 else { return nil }
    switch unit {
    case .packets: return PacketRate(UInt128(millionths), perNanoseconds: 1_000_000_000_000_000)
    case .bits(let layer):
      let overhead = layer == .l1 ? UInt128(TrafficRate.lineOverheadByteCount) * UInt128(frameCount) : 0
      let bits = 8 * (UInt128(byteCount) + overhead)
      return PacketRate(UInt128(millionths) * UInt128(frameCount), perNanoseconds: 1_000_000_000_000_000 * bits)
    }
  }

  /// `1.5Mpps`, `10Gbit/l1`: parses to the same rate.
  public var description: String {
    let units: [(String, UInt64)] = [
      ("T", 1_000_000_000_000), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1000), ("", 1),
    ]
    let (prefix, factor) = units.first { millionths >= $0.1 * 1_000_000 && isShort(millionths, $0.1) } ?? ("", 1)
    // Exact: at most six decimals of the unit, because only such units are taken.
    let scaled = millionths / factor
    var text = String(scaled / 1_000_000)
    var fraction = String(1_000_000 + scaled % 1_000_000).dropFirst()
    while fraction.last == "0" { fraction.removeLast() }
    if !fraction.isEmpty { text += ".\(fraction)" }
    switch unit {
    case .packets: return text + prefix + "pps"
    case .bits(.l2): return text + prefix + "bit"
    case .bits(.l1): return text + prefix + "bit/l1"
    }
  }

  private func isShort(_ millionths: UInt64, _ factor: UInt64) -> Bool { millionths % factor == 0 }
}

/// Packets a time, exactly: a fraction in lowest terms. A value.
public struct PacketRate: Hashable, Sendable {
  /// 1 or more.
  public let packets: UInt64
  /// 1 or more.
  public let perNanoseconds: UInt64

  /// nil for nothing, and for more than ``TrafficLimits/packetsPerSecondMax``.
  init?(_ packets: UInt128, perNanoseconds: UInt128) {
    guard packets > 0, perNanoseconds > 0, packets <= perNanoseconds else { return nil }  // 1 Gpps is 1 a nanosecond
    let divisor = greatestCommonDivisor(packets, perNanoseconds)
    var (numerator, denominator) = (packets / divisor, perNanoseconds / divisor)
    // What doesn't fit loses its last bits, 1 part in 2^60.
    while denominator > UInt128(UInt64.max >> 1) { (numerator, denominator) = (numerator >> 1, denominator >> 1) }
    guard numerator > 0 else { return nil }
    self.packets = UInt64(numerator)
    self.perNanoseconds = UInt64(denominator)
  }

  public var perSecond: Double { Double(packets) / Double(perNanoseconds) * 1e9 }

  /// Packets due by then when the first is due at 0: one more than the whole intervals.
  func due(at nanoseconds: UInt64) -> UInt64 {
    let intervals = UInt128(nanoseconds) * UInt128(packets) / UInt128(perNanoseconds)
    return UInt64(clamping: intervals + 1)
  }

  /// When packet `index` is due, rounded up.
  func time(of index: UInt64) -> UInt64 {
    UInt64(clamping: (UInt128(index) * UInt128(perNanoseconds) + UInt128(packets) - 1) / UInt128(packets))
  }
}
