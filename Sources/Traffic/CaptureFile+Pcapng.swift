// pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, packets; other blocks are passed over.

extension CaptureFile {
  /// Bytes of one block.
  private static let blockByteCountMax = 16 << 20
  private static let interfaceCountMax = 4096

  private struct Interface {
    var linkType: UInt32
    /// 0: no limit.
    var snapByteCount: UInt32
    /// if_tsresol: parts of a second, as a power of ten, or of two with the highest bit set.
    var resolution: UInt8 = 6
    /// if_tsoffset: seconds.
    var offsetSeconds: Int64 = 0

    /// Nanoseconds since 1970; what doesn't fit stays at the ends.
    func nanoseconds(_ time: UInt64) -> UInt64 {
      let power = resolution & 0x7f
      let scaled: UInt128
      if resolution & 0x80 != 0 {
        scaled = power >= 94 ? 0 : (UInt128(time) * 1_000_000_000) >> UInt128(power)
      } else if power <= 9 {
        scaled = UInt128(time) * Interface.powerOfTen(9 - power)
      } else {
        scaled = power > 28 ? 0 : UInt128(time) / Interface.powerOfTen(power - 9)
      }
      return UInt64(clamping: Int128(scaled) + Int128(offsetSeconds) * 1_000_000_000)
    }

    private static func powerOfTen(_ power: UInt8) -> UInt128 { (0..<power).reduce(1) { value, _ in value * 10 } }
  }

  mutating func readPcapng(_ bytes: [UInt8]) throws(TrafficError) {
    var reader = ByteReader(bytes, isBigEndian: false)
    var interfaces: [Interface] = []
    var offset = 0
    while offset < bytes.count {
      guard bytes.count - offset >= 12 else { throw Self.damaged("ends within a block", offset) }
      if reader.word(offset) == 0x0a0d_0d0a {  // the same in both byte orders
        reader = try Self.section(bytes, offset)
        interfaces = []
      }
      let byteCount = Int(reader.word(offset + 4))
      guard byteCount >= 12, byteCount % 4 == 0, byteCount <= Self.blockByteCountMax else {
        throw Self.damaged("has a block of \(byteCount) bytes", offset)
      }
      guard bytes.count - offset >= byteCount else { throw Self.damaged("ends within a block", offset) }
      guard reader.word(offset + byteCount - 4) == UInt32(byteCount) else {
        throw Self.damaged("has a block whose two lengths differ", offset)
      }
      try readBlock(reader, offset + 8..<offset + byteCount - 4, type: reader.word(offset), &interfaces)
      offset += byteCount
    }
  }

  private static func section(_ bytes: [UInt8], _ offset: Int) throws(TrafficError) -> ByteReader {
    switch ByteReader(bytes, isBigEndian: true).word(offset + 8) {
    case 0x1a2b_3c4d: return ByteReader(bytes, isBigEndian: true)
    case 0x4d3c_2b1a: return ByteReader(bytes, isBigEndian: false)
    default: throw damaged("has a section of unknown byte order", offset)
    }
  }

  private mutating func readBlock(
    _ reader: ByteReader, _ body: Range<Int>, type: UInt32, _ interfaces: inout [Interface]
  ) throws(TrafficError) {
    let start = body.lowerBound
    switch type {
    case 0x0a0d_0d0a:
      guard body.count >= 16 else { throw Self.damaged("has a section header cut short", start) }
      guard reader.half(start + 4) == 1 else {
        throw Self.damaged("is of pcapng version \(reader.half(start + 4)), not 1", start)
      }
    case 1:
      guard body.count >= 8 else { throw Self.damaged("has an interface block cut short", start) }
      guard interfaces.count < Self.interfaceCountMax else {
        throw Self.damaged("has more than \(Self.interfaceCountMax) interfaces", start)
      }
      var interface = Interface(linkType: reader.half(start), snapByteCount: reader.word(start + 4))
      Self.readOptions(reader, start + 8..<body.upperBound, &interface)
      interfaces.append(interface)
    case 2, 6:  // the obsolete packet block has a number of drops behind a 16-bit interface
      guard body.count >= 20 else { throw Self.damaged("has a packet block cut short", start) }
      let interface = try Self.interface(type == 2 ? reader.half(start) : reader.word(start), interfaces, start)
      let time = UInt64(reader.word(start + 4)) << 32 | UInt64(reader.word(start + 8))
      try readPacket(
        reader, body, start + 20, captured: reader.word(start + 12), original: reader.word(start + 16),
        time: interface.nanoseconds(time))
    case 3:
      guard body.count >= 4 else { throw Self.damaged("has a packet block cut short", start) }
      let snap = try Self.interface(0, interfaces, start).snapByteCount
      let original = reader.word(start)
      // A simple packet doesn't say how much of it was captured: what the interface allows and the block holds.
      let captured = min(original, snap == 0 ? .max : snap, UInt32(body.count - 4))
      try readPacket(reader, body, start + 4, captured: captured, original: original, time: nil)
    default: break
    }
  }

  private mutating func readPacket(
    _ reader: ByteReader, _ body: Range<Int>, _ data: Int, captured: UInt32, original: UInt32,
    time: UInt64?
  ) throws(TrafficError) {
    guard captured <= UInt32(Self.recordByteCountMax), Int(captured) <= body.upperBound - data else {
      throw Self.damaged("has a packet of \(captured) bytes in a shorter block", body.lowerBound)
    }
    try append(reader.bytes[data..<data + Int(captured)], originalByteCount: original, time: time)
  }

  /// What is damaged ends the options: they are only about time.
  private static func readOptions(_ reader: ByteReader, _ range: Range<Int>, _ interface: inout Interface) {
    var offset = range.lowerBound
    while range.upperBound - offset >= 4 {
      let (code, byteCount) = (reader.half(offset), Int(reader.half(offset + 2)))
      guard code != 0, byteCount <= range.upperBound - offset - 4 else { return }
      switch (code, byteCount) {
      case (9, 1): interface.resolution = reader.bytes[offset + 4]
      case (14, 8):
        let (a, b) = (UInt64(reader.word(offset + 4)), UInt64(reader.word(offset + 8)))
        interface.offsetSeconds = Int64(bitPattern: reader.isBigEndian ? a << 32 | b : b << 32 | a)
      default: break
      }
      offset += 4 + (byteCount + 3) / 4 * 4
    }
  }

  private static func interface(
    _ index: UInt32, _ interfaces: [Interface], _ offset: Int
  ) throws(TrafficError) -> Interface {
    guard index < UInt32(interfaces.count) else {
      throw damaged("has a packet of interface \(index), which it doesn't describe", offset)
    }
    let interface = interfaces[Int(index)]
    guard interface.linkType == linkTypeEthernet else { throw wrongLinkType(interface.linkType) }
    return interface
  }

  private static func damaged(_ what: String, _ offset: Int) -> TrafficError {
    TrafficError("the file \(what) (at byte \(offset))")
  }
}
