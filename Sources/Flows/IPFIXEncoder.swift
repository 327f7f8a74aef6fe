/// Flow records → IPFIX messages (RFC 7011), for one stream to one collector.
///
/// Add records with ``append(_:_:realtimeOffset:)`` until it refuses or time is up, then
/// ``takeMessage(exportSeconds:)``. Ask ``takeTemplates(exportSeconds:now:)`` before every message: without templates a
/// collector understands nothing, and over UDP they may be lost. One thread owns this value.
public struct IPFIXEncoder: Sendable {
  public struct Options: Hashable, Sendable {
    /// Tells apart observers behind one address.
    public var observationDomain: UInt32
    /// UDP payload: with IPv6 and UDP headers it must fit the path's MTU.
    public var messageByteCountMax: Int
    /// Templates are sent again after so long, and after so many messages, whichever is first.
    public var templateSeconds: UInt64
    public var templateMessages: UInt32
    /// One of so many packets was looked at. Counts are sent as counted; the collector is told, and scales.
    public var sampleEvery: UInt32

    public init(
      observationDomain: UInt32 = 1, messageByteCountMax: Int = 1400, templateSeconds: UInt64 = 60,
      templateMessages: UInt32 = 1000, sampleEvery: UInt32 = 1
    ) {
      self.observationDomain = observationDomain
      self.messageByteCountMax = messageByteCountMax
      self.templateSeconds = templateSeconds
      self.templateMessages = templateMessages
      self.sampleEvery = max(sampleEvery, 1)
    }
  }

  /// What the key's ingress port means, in interface indices (ifIndex); 0: unknown.
  public struct Interfaces: Hashable, Sendable {
    public var ingress: UInt32
    public var egress: UInt32

    public init(ingress: UInt32 = 0, egress: UInt32 = 0) {
      self.ingress = ingress
      self.egress = egress
    }
  }

  /// Holds the templates, and one record of IPv6.
  public static let messageByteCountMin = 256
  public static let messageByteCountMax = 65_000
  private static let headerByteCount = 16
  private static let setHeaderByteCount = 4

  public let options: Options
  /// Records that the next message will carry.
  public private(set) var pendingCount = 0
  /// Data records in all messages so far, modulo 2³²: the next message's sequence number.
  public private(set) var sequence: UInt32 = 0

  private var ipv4Records: [UInt8] = []
  private var ipv6Records: [UInt8] = []
  /// When the templates were sent last, and how many messages ago.
  private var templatesSent: (time: UInt64, messages: UInt32)?

  public init(_ options: Options = Options()) {
    precondition(
      (Self.messageByteCountMin...Self.messageByteCountMax).contains(options.messageByteCountMax),
      "a message has \(Self.messageByteCountMin) to \(Self.messageByteCountMax) bytes")
    self.options = options
    ipv4Records.reserveCapacity(options.messageByteCountMax)
    ipv6Records.reserveCapacity(options.messageByteCountMax)
  }

  /// Adds a record to the next message.
  ///
  /// - Parameter realtimeOffset: Nanoseconds from the records' clock to wall time.
  /// - Returns: False if the message is full; the record is not in it then.
  public mutating func append(_ record: FlowRecord, _ interfaces: Interfaces, realtimeOffset: Int64) -> Bool {
    let isIPv6 = record.key.isIPv6
    let fields = isIPv6 ? IPFIXTemplates.ipv6 : IPFIXTemplates.ipv4
    let isNewSet = isIPv6 ? ipv6Records.isEmpty : ipv4Records.isEmpty
    let added = IPFIXTemplates.byteCount(fields) + (isNewSet ? Self.setHeaderByteCount : 0)
    guard messageByteCount + added <= options.messageByteCountMax else { return false }
    if isIPv6 {
      Self.write(record, interfaces, realtimeOffset, into: &ipv6Records)
    } else {
      Self.write(record, interfaces, realtimeOffset, into: &ipv4Records)
    }
    pendingCount += 1
    return true
  }

  /// The message with the pending records; nil if there are none.
  ///
  /// - Parameter exportSeconds: Wall time, since 1970.
  public mutating func takeMessage(exportSeconds: UInt32) -> [UInt8]? {
    guard pendingCount > 0 else { return nil }
    var message = begin(exportSeconds, byteCount: messageByteCount)
    for (id, records) in [(IPFIXTemplates.ipv4ID, ipv4Records), (IPFIXTemplates.ipv6ID, ipv6Records)]
    where !records.isEmpty {
      message.appendNetworkOrder(id)
      message.appendNetworkOrder(UInt16(Self.setHeaderByteCount + records.count))
      message += records
    }
    sequence &+= UInt32(pendingCount)
    pendingCount = 0
    ipv4Records.removeAll(keepingCapacity: true)
    ipv6Records.removeAll(keepingCapacity: true)
    templatesSent?.messages &+= 1
    return message
  }

  /// The message with the templates, and with the sampling if there is any; nil if they are not due.
  ///
  /// - Parameter now: Any steady clock's nanoseconds.
  public mutating func takeTemplates(exportSeconds: UInt32, now: UInt64) -> [UInt8]? {
    if let sent = templatesSent, now &- sent.time < options.templateSeconds &* 1_000_000_000,
      sent.messages < options.templateMessages
    {
      return nil
    }
    templatesSent = (now, 0)
    var sets: [UInt8] = []
    let ids = [(IPFIXTemplates.ipv4ID, IPFIXTemplates.ipv4), (IPFIXTemplates.ipv6ID, IPFIXTemplates.ipv6)]
    sets.appendSet(2, ids.map { Self.template($0, $1, scopeCount: nil) }.reduce([], +))
    var dataCount: UInt32 = 0
    if options.sampleEvery > 1 {
      sets.appendSet(3, Self.template(IPFIXTemplates.samplingID, IPFIXTemplates.sampling, scopeCount: 1))
      var report: [UInt8] = []
      report.appendNetworkOrder(UInt64(1))  // selectorId
      report.appendNetworkOrder(UInt16(1))  // systematic count-based
      report.appendNetworkOrder(UInt32(1))
      report.appendNetworkOrder(options.sampleEvery - 1)
      sets.appendSet(IPFIXTemplates.samplingID, report)
      dataCount = 1
    }
    let message = begin(exportSeconds, byteCount: Self.headerByteCount + sets.count) + sets
    sequence &+= dataCount
    return message
  }

  /// Makes the templates due, because the collector may not have them.
  public mutating func forgetTemplates() { templatesSent = nil }

  /// Of the next message, with what is pending.
  private var messageByteCount: Int {
    [ipv4Records, ipv6Records].reduce(Self.headerByteCount) {
      $0 + ($1.isEmpty ? 0 : Self.setHeaderByteCount + $1.count)
    }
  }

  /// The message header.
  private func begin(_ exportSeconds: UInt32, byteCount: Int) -> [UInt8] {
    var message: [UInt8] = []
    message.reserveCapacity(byteCount)
    message.appendNetworkOrder(UInt16(10))
    message.appendNetworkOrder(UInt16(byteCount))
    message.appendNetworkOrder(exportSeconds)
    message.appendNetworkOrder(sequence)
    message.appendNetworkOrder(options.observationDomain)
    return message
  }

  private static func template(_ id: UInt16, _ fields: [IPFIXField], scopeCount: UInt16?) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendNetworkOrder(id)
    bytes.appendNetworkOrder(UInt16(fields.count))
    if let scopeCount { bytes.appendNetworkOrder(scopeCount) }
    for field in fields {
      bytes.appendNetworkOrder(field.element)
      bytes.appendNetworkOrder(field.byteCount)
    }
    return bytes
  }

  /// The fields of IPFIXTemplates.ipv4 or ipv6, in their order.
  private static func write(
    _ record: FlowRecord, _ interfaces: Interfaces, _ realtimeOffset: Int64, into bytes: inout [UInt8]
  ) {
    let key = record.key
    if key.isIPv6 {
      bytes.appendNetworkOrder(key.first)
      bytes.appendNetworkOrder(key.second)
      bytes.appendNetworkOrder(key.third)
      bytes.appendNetworkOrder(key.fourth)
    } else {
      bytes.appendNetworkOrder(key.first)
    }
    bytes.appendNetworkOrder(key.sourcePort)
    bytes.appendNetworkOrder(key.destinationPort)
    bytes.appendNetworkOrder(key.isICMP ? key.destinationPort : 0)
    bytes.appendNetworkOrder(key.vlanID ?? 0)
    bytes.appendNetworkOrder(UInt16(record.tcpFlags))
    bytes.append(key.protocolNumber)
    bytes.append(record.endReason.rawValue)
    bytes.appendNetworkOrder(interfaces.ingress)
    bytes.appendNetworkOrder(interfaces.egress)
    bytes.appendNetworkOrder(record.bytes)
    bytes.appendNetworkOrder(record.packets)
    for time in [record.firstNanoseconds, record.lastNanoseconds] {
      bytes.appendNetworkOrder((time &+ UInt64(bitPattern: realtimeOffset)) / 1_000_000)
    }
  }
}

extension [UInt8] {
  fileprivate mutating func appendNetworkOrder<Number: FixedWidthInteger & UnsignedInteger>(_ value: Number) {
    var shift = Number.bitWidth
    while shift > 0 {
      shift -= 8
      append(UInt8(truncatingIfNeeded: value >> Number(shift)))
    }
  }

  /// A set: its header and what is in it.
  fileprivate mutating func appendSet(_ id: UInt16, _ content: [UInt8]) {
    appendNetworkOrder(id)
    appendNetworkOrder(UInt16(content.count + 4))
    self += content
  }
}
