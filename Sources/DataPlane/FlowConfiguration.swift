import Flows
import LinuxSystem
import Packets

/// Where flow records go.
public struct FlowCollector: Hashable, Sendable, CustomStringConvertible {
  public var address: IPAddress
  public var port: UInt16

  /// IANA's port for IPFIX over UDP is 4739.
  public init(address: IPAddress, port: UInt16 = 4739) {
    self.address = address
    self.port = port
  }

  /// `192.0.2.1:4739`, `[2001:db8::1]:4739`.
  public var description: String { address.family == .ipv6 ? "[\(address)]:\(port)" : "\(address):\(port)" }
}

/// How packets are accounted, by each packet thread for itself.
public struct FlowAccountingConfiguration: Hashable, Sendable {
  /// Flows at one time; 64 to 128 bytes each. See ``Flows/FlowTable``.
  public var flowCount: Int
  public var timeouts: FlowTimeouts
  /// What the sides of the wire are called in records, by the side that packets come in by: at most two.
  public var interfaces: [IPFIXEncoder.Interfaces]
  /// One of so many packets is looked at (``PacketContext/isSampled``): scales rates.
  public var sampleEvery: UInt32

  public init(
    flowCount: Int = 65_536, timeouts: FlowTimeouts = FlowTimeouts(), interfaces: [IPFIXEncoder.Interfaces] = [],
    sampleEvery: UInt32 = 1
  ) {
    self.flowCount = flowCount
    self.timeouts = timeouts
    self.interfaces = interfaces
    self.sampleEvery = max(sampleEvery, 1)
  }
}

/// What one packet thread accounted. Every sampled packet is in one of the first three.
public struct FlowCounters: Hashable, Sendable {
  public var packets: UInt64 = 0
  public var notIP: UInt64 = 0
  public var malformed: UInt64 = 0
  /// Layer 3, of ``packets``.
  public var bytes: UInt64 = 0
  /// Flows now.
  public var active: UInt64 = 0
  public var created: UInt64 = 0
  /// Records closed: handed to the exporter, or lost. Without an exporter they end here.
  public var closed: UInt64 = 0
  /// Records closed early because the table was full there.
  public var evicted: UInt64 = 0
  /// Records, and the packets in them, that the exporter never got because its ring was full.
  public var lost: UInt64 = 0
  public var lostPackets: UInt64 = 0

  public init() {}
}

/// What an exporter did.
public struct FlowExportCounters: Hashable, Sendable {
  /// Taken from the packet threads.
  public var records: UInt64 = 0
  /// Some of ``records``: in messages that could not be sent.
  public var unsentRecords: UInt64 = 0
  /// Sent, templates included, and their bytes of UDP payload.
  public var messages: UInt64 = 0
  public var bytes: UInt64 = 0
  /// The collector's host says that nobody listens.
  public var refused: UInt64 = 0
  /// No way to the host.
  public var unreachable: UInt64 = 0
  /// The kernel had no memory, or its queue stayed full.
  public var noBuffer: UInt64 = 0
  /// Longer than the path allows.
  public var tooLong: UInt64 = 0
  public var otherErrors: UInt64 = 0

  public init() {}
}
