import Packets

/// The Ethernet frames of a capture file: classic pcap in either byte order with micro- or nanoseconds, or pcapng.
public struct CaptureFile: Hashable, Sendable {
  /// In the file's order.
  public internal(set) var frames: [[UInt8]] = []
  /// Frames that the capture itself cut short.
  public internal(set) var cutCount = 0

  /// Bytes of a file.
  public static let byteCountMax = 256 << 20
  /// Bytes of one record: what libpcap allows.
  static let recordByteCountMax = 262_144
  static let linkTypeEthernet: UInt32 = 1

  /// Reads a whole file. Bytes may be hostile: nothing is allocated beyond what they themselves take.
  public init(parsing bytes: [UInt8]) throws(TrafficError) {
    guard bytes.count <= CaptureFile.byteCountMax else {
      throw TrafficError("the file is larger than \(CaptureFile.byteCountMax >> 20) MiB")
    }
    guard bytes.count >= 4 else { throw TrafficError("the file is too short to be a capture (\(bytes.count) bytes)") }
    switch ByteReader(bytes, isBigEndian: true).word(0) {
    case 0xa1b2_c3d4, 0xa1b2_3c4d: try readPcap(ByteReader(bytes, isBigEndian: true))
    case 0xd4c3_b2a1, 0x4d3c_b2a1: try readPcap(ByteReader(bytes, isBigEndian: false))
    case 0x0a0d_0d0a: try readPcapng(bytes)
    case let magic where magic >> 16 == 0x1f8b: throw TrafficError("the file is compressed: gunzip it first")
    case let magic where magic == 0x28b5_2ffd: throw TrafficError("the file is compressed: unzstd it first")
    default: throw TrafficError("the file is neither pcap nor pcapng")
    }
    guard !frames.isEmpty else { throw TrafficError("the file holds no packets") }
  }

  private mutating func readPcap(_ reader: ByteReader) throws(TrafficError) {
    guard reader.count >= 24 else { throw TrafficError("the file ends within pcap's header") }
    let linkType = reader.word(20) & 0xffff  // above it: whether frames end with a check sequence
    guard linkType == CaptureFile.linkTypeEthernet else { throw CaptureFile.wrongLinkType(linkType) }
    var offset = 24
    while offset < reader.count {
      guard reader.count - offset >= 16 else { throw CaptureFile.endsEarly(frames.count, offset) }
      let captured = Int(reader.word(offset + 8))
      guard captured <= CaptureFile.recordByteCountMax else {
        throw TrafficError("packet \(frames.count + 1) claims \(captured) bytes at byte \(offset): the file is damaged")
      }
      guard reader.count - offset - 16 >= captured else { throw CaptureFile.endsEarly(frames.count, offset) }
      try append(reader.bytes[offset + 16..<offset + 16 + captured], originalByteCount: reader.word(offset + 12))
      offset += 16 + captured
    }
  }

  mutating func append(_ frame: ArraySlice<UInt8>, originalByteCount: UInt32) throws(TrafficError) {
    guard frames.count < TrafficLimits.frameCountMax else {
      throw TrafficError(
        "the file holds more than \(TrafficLimits.frameCountMax) packets: cut it, for example "
          + "editcap -r IN OUT 1-\(TrafficLimits.frameCountMax)")
    }
    frames.append(Array(frame))
    if UInt32(clamping: frame.count) < originalByteCount { cutCount += 1 }
  }

  static func wrongLinkType(_ linkType: UInt32) -> TrafficError {
    TrafficError("the capture's link type is \(linkType); only Ethernet (\(linkTypeEthernet)) can be sent")
  }

  private static func endsEarly(_ packets: Int, _ offset: Int) -> TrafficError {
    TrafficError("the file ends within packet \(packets + 1), which begins at byte \(offset)")
  }
}

extension CaptureFile {
  /// Makes every frame fit to be sent: no longer than the engine takes, no shorter than an Ethernet header.
  ///
  /// - Parameter truncates: Cut frames that are too long instead of refusing them.
  public mutating func fit(truncates: Bool) throws(TrafficError) {
    let limit = TrafficLimits.frameByteCountMax
    let long = frames.count { $0.count > limit }
    if long > 0 && !truncates {
      throw TrafficError("\(long) of \(frames.count) packets are longer than \(limit) bytes: --truncate cuts them")
    }
    let short = frames.count { $0.count < EthernetHeader.byteCount }
    if short > 0 {
      throw TrafficError("\(short) of \(frames.count) packets are shorter than an Ethernet header: leave them out")
    }
    for index in frames.indices where frames[index].count > limit { frames[index] = Array(frames[index].prefix(limit)) }
  }

  /// Puts other addresses into every frame; nil leaves them as they are.
  ///
  /// Traps where a frame has no Ethernet header: ``fit(truncates:)`` comes first.
  public mutating func rewrite(destinationMAC: MACAddress?, sourceMAC: MACAddress?) {
    for index in frames.indices {
      if let destinationMAC { frames[index].replaceSubrange(0..<6, with: destinationMAC.bytes) }
      if let sourceMAC { frames[index].replaceSubrange(6..<12, with: sourceMAC.bytes) }
    }
  }
}

/// Numbers of one byte order from an array. Reading beyond the end traps: the caller compares with `count` first.
struct ByteReader {
  let bytes: [UInt8]
  let isBigEndian: Bool

  init(_ bytes: [UInt8], isBigEndian: Bool) {
    self.bytes = bytes
    self.isBigEndian = isBigEndian
  }

  var count: Int { bytes.count }

  func half(_ offset: Int) -> UInt32 {
    let (a, b) = (UInt32(bytes[offset]), UInt32(bytes[offset + 1]))
    return isBigEndian ? a << 8 | b : b << 8 | a
  }

  func word(_ offset: Int) -> UInt32 {
    let (a, b) = (half(offset), half(offset + 2))
    return isBigEndian ? a << 16 | b : b << 16 | a
  }
}
