/// Why traffic cannot be made as asked: names what was given and what to give instead.
public struct TrafficError: Error, Hashable, Sendable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}

/// Bounds of what the generator takes.
public enum TrafficLimits {
  /// Bytes of a frame, Ethernet header included, frame check sequence not. The engine's limit.
  public static let frameByteCountMax = 3400
  /// Ethernet's least frame without its check sequence.
  public static let frameByteCountMin = 60
  /// Different frames of one run, and entries of one table. The engine's limit.
  public static let frameCountMax = 65536
  public static let flowCountMax = 64
  /// Packets of one run.
  public static let packetCountMax: UInt64 = 1_000_000_000_000_000
  public static let packetsPerSecondMax: UInt64 = 1_000_000_000
  /// 31 days: longest run, ramp step and recording.
  public static let durationNanosecondsMax: UInt64 = 31 * 86_400_000_000_000
  /// Generators of one run, each on a thread of its own.
  public static let threadCountMax = 64
  public static let weightMax = 1000
  /// Characters of a flow's specification.
  public static let specificationCharacterCountMax = 1024
}

/// A decimal number without sign and without leading zeros in `range`; nil if `text` is anything else.
func decimal(_ text: some StringProtocol, in range: ClosedRange<UInt64>) -> UInt64? {
  guard !text.isEmpty, text.utf8.count <= 20, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
    text.utf8.count == 1 || text.utf8.first != 0x30, let value = UInt64(text), range.contains(value)
  else { return nil }
  return value
}
