import LinuxSystem

/// Encodes blocks of the pcapng format (draft-ietf-opsawg-pcapng) into a byte array, in the host's byte order.
enum Pcapng {
  /// Section header, naming this program.
  static func appendSectionHeader(to bytes: inout [UInt8]) {
    appendBlock(type: 0x0a0d_0d0a, to: &bytes) { bytes in
      append(0x1a2b_3c4d as UInt32, to: &bytes)  // byte-order magic
      append(1 as UInt16, to: &bytes)  // version 1.0
      append(0 as UInt16, to: &bytes)
      append(UInt64.max, to: &bytes)  // section length: not given
      appendOption(4, Array("sluice".utf8), to: &bytes)  // shb_userappl
      appendEndOfOptions(to: &bytes)
    }
  }

  /// Interface description: Ethernet, nanoseconds.
  static func appendInterface(name: String, snapByteCount: UInt32, to bytes: inout [UInt8]) {
    appendBlock(type: 1, to: &bytes) { bytes in
      append(1 as UInt16, to: &bytes)  // LINKTYPE_ETHERNET
      append(0 as UInt16, to: &bytes)
      append(snapByteCount, to: &bytes)
      appendOption(2, Array(name.utf8), to: &bytes)  // if_name
      appendOption(9, [9], to: &bytes)  // if_tsresol: 10⁻⁹
      appendEndOfOptions(to: &bytes)
    }
  }

  /// What every file and stream of a capture begins with.
  static func headers(_ request: CaptureRequest, _ interface: String) -> [UInt8] {
    var bytes: [UInt8] = []
    appendSectionHeader(to: &bytes)
    appendInterface(name: interface, snapByteCount: request.effectiveSnapByteCount, to: &bytes)
    return bytes
  }

  /// The options of a packet, up to their end: its rule.
  static func packetOptions(rule: String) -> [UInt8] {
    var bytes: [UInt8] = []
    appendOption(1, Array("rule=\(rule)".utf8.prefix(512)), to: &bytes)  // opt_comment
    appendEndOfOptions(to: &bytes)
    return bytes
  }

  /// The end of a packet's options.
  static var endOfOptions: [UInt8] { [0, 0, 0, 0] }

  /// Bytes of an interface statistics block, to be kept free at the end of a file.
  static var statisticsByteCount: UInt64 { 24 + 7 * 12 + 4 }

  /// Interface statistics: the counters of the capture so far.
  static func appendStatistics(
    _ statistics: CaptureStatistics, startedAt: UInt64, delivered: UInt64, to bytes: inout [UInt8]
  ) {
    let endedAt = SystemClock.realtimeNanoseconds()
    appendBlock(type: 5, to: &bytes) { bytes in
      append(0 as UInt32, to: &bytes)
      append(UInt32(truncatingIfNeeded: endedAt >> 32), to: &bytes)
      append(UInt32(truncatingIfNeeded: endedAt), to: &bytes)
      appendTimeOption(2, startedAt, to: &bytes)  // isb_starttime
      appendTimeOption(3, endedAt, to: &bytes)  // isb_endtime
      let counters: [(UInt16, UInt64)] = [
        (4, statistics.received), (5, statistics.dropped), (6, statistics.accepted), (7, statistics.droppedByKernel),
        (8, delivered),
      ]  // isb_ifrecv, ifdrop, filteraccept, osdrop, usrdeliv
      for (code, value) in counters { appendOption(code, withUnsafeBytes(of: value) { Array($0) }, to: &bytes) }
      appendEndOfOptions(to: &bytes)
    }
  }

  private static func appendTimeOption(_ code: UInt16, _ time: UInt64, to bytes: inout [UInt8]) {
    var value: [UInt8] = []
    append(UInt32(truncatingIfNeeded: time >> 32), to: &value)
    append(UInt32(truncatingIfNeeded: time), to: &value)
    appendOption(code, value, to: &bytes)
  }

  private static func appendBlock(type: UInt32, to bytes: inout [UInt8], _ body: (inout [UInt8]) -> Void) {
    let start = bytes.count
    append(type, to: &bytes)
    append(0 as UInt32, to: &bytes)
    body(&bytes)
    let byteCount = UInt32(bytes.count - start + 4)
    withUnsafeBytes(of: byteCount) { bytes.replaceSubrange(start + 4..<start + 8, with: $0) }
    append(byteCount, to: &bytes)
  }

  private static func appendOption(_ code: UInt16, _ value: [UInt8], to bytes: inout [UInt8]) {
    append(code, to: &bytes)
    append(UInt16(value.count), to: &bytes)
    bytes += value
    appendPadding(to: &bytes, after: value.count)
  }

  private static func appendEndOfOptions(to bytes: inout [UInt8]) { append(0 as UInt32, to: &bytes) }

  private static func appendPadding(to bytes: inout [UInt8], after byteCount: Int) {
    for _ in 0..<(4 - byteCount % 4) % 4 { bytes.append(0) }
  }

  private static func append<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value, to bytes: inout [UInt8]) {
    withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
  }
}
