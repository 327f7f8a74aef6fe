/// Why a flow's record was closed. The raw values are IPFIX's flowEndReason (RFC 5102 section 5.11.3).
@frozen
public struct FlowEndReason: RawRepresentable, Hashable, BitwiseCopyable, Sendable, CaseIterable {
  public let rawValue: UInt8
  @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// It is not closed: a copy of a flow that goes on.
  @inlinable public static var running: Self { Self(rawValue: 0) }
  /// No packet for the idle timeout.
  @inlinable public static var idleTimeout: Self { Self(rawValue: 1) }
  /// It went on for the active timeout; the flow's next packet begins a new record.
  @inlinable public static var activeTimeout: Self { Self(rawValue: 2) }
  /// TCP's FIN or RST was seen.
  @inlinable public static var endDetected: Self { Self(rawValue: 3) }
  /// The accounting ends.
  @inlinable public static var forced: Self { Self(rawValue: 4) }
  /// Its place was needed for another flow, or its counters were about to overflow.
  @inlinable public static var lackOfResources: Self { Self(rawValue: 5) }

  public static let allCases = (0...5).map { Self(rawValue: $0) }

  /// Written out to be inlinable: the packet thread compares.
  @inlinable public static func == (left: Self, right: Self) -> Bool { left.rawValue == right.rawValue }
}

/// What is known of a flow between two moments. Counts are of the packets that were looked at: with sampling one in N.
@frozen
public struct FlowRecord: BitwiseCopyable, Hashable, Sendable {
  public var key: FlowKey
  public var packets: UInt64
  /// Layer 3: IP headers and what follows, without Ethernet and padding.
  public var bytes: UInt64
  /// Of the first packet, on the clock of the packets' timestamps.
  public var firstNanoseconds: UInt64
  /// Of the last packet.
  public var lastNanoseconds: UInt64
  /// All TCP flags seen, or-ed; 0 for other protocols.
  public var tcpFlags: UInt8
  public var endReason: FlowEndReason

  @inlinable public init(
    key: FlowKey, packets: UInt64, bytes: UInt64, firstNanoseconds: UInt64, lastNanoseconds: UInt64,
    tcpFlags: UInt8 = 0, endReason: FlowEndReason = .running
  ) {
    self.key = key
    self.packets = packets
    self.bytes = bytes
    self.firstNanoseconds = firstNanoseconds
    self.lastNanoseconds = lastNanoseconds
    self.tcpFlags = tcpFlags
    self.endReason = endReason
  }
}

/// Where closed records go. On the packet thread: no system call, lock or allocation.
public protocol FlowSink: ~Copyable {
  /// Records that it takes now without losing one. Expiry waits while it is 0; a record that cannot wait comes anyway,
  /// and the sink counts what it loses.
  var room: Int { mutating get }
  mutating func accept(_ record: FlowRecord)
}
