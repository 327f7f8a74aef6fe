/// Why a flow's record was closed. The raw values are IPFIX's flowEndReason (RFC 5102 section 5.11.3).
public enum FlowEndReason: UInt8, Hashable, Sendable, CaseIterable {
  /// It is not closed: a copy of a flow that goes on.
  case running = 0
  /// No packet for the idle timeout.
  case idleTimeout = 1
  /// It went on for the active timeout; the flow's next packet begins a new record.
  case activeTimeout = 2
  /// TCP's FIN or RST was seen.
  case endDetected = 3
  /// The accounting ends.
  case forced = 4
  /// Its place was needed for another flow, or its counters were about to overflow.
  case lackOfResources = 5
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
  @usableFromInline var reason: UInt8

  @inlinable public var endReason: FlowEndReason { FlowEndReason(rawValue: reason) ?? .running }

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
    reason = endReason.rawValue
  }
}

/// Where closed records go. On the packet thread: no system call, lock or allocation.
public protocol FlowSink: ~Copyable {
  /// Records that it takes now without losing one. Expiry waits while it is 0; a record that cannot wait comes anyway,
  /// and the sink counts what it loses.
  var room: Int { mutating get }
  mutating func accept(_ record: FlowRecord)
}
