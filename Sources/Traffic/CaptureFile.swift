import Packets

/// The Ethernet frames of a capture file: classic pcap in either byte order with micro- or nanoseconds, or pcapng.
public struct CaptureFile: Hashable, Sendable {
  /// In the file's order.
  public internal(set) var frames: [[UInt8]] = []
  /// Frames that the capture itself cut short.
  public internal(set) var cutCount = 0
  /// When each frame was captured, nanoseconds since 1970; nil where a record doesn't say. As many as frames.
  public internal(set) var times: [UInt64?] = []

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
    case 0xa1b2_c3d4: try readPcap(ByteReader(bytes, isBigEndian: true), fractionNanoseconds: 1000)
    case 0xa1b2_3c4d: try readPcap(ByteReader(bytes, isBigEndian: true), fractionNanoseconds: 1)
    case 0xd4c3_b2a1: try readPcap(ByteReader(bytes, isBigEndian: false), fractionNanoseconds: 1000)
    case 0x4d3c_b2a1: try readPcap(ByteReader(bytes, isBigEndian: false), fractionNanoseconds: 1)
    case 0x0a0d_0d0a: try readPcapng(bytes)
    case let magic where magic >> 16 == 0x1f8b: throw TrafficError("the file is compressed: gunzip it first")
    case let magic where magic == 0x28b5_2ffd: throw TrafficError("the file is compressed: unzstd it first")
    default: throw TrafficError("the file is neither pcap nor pcapng")
    }
    guard !frames.isEmpty else { throw TrafficError("the file holds no packets") }
  }

  private mutating func readPcap(_ reader: ByteReader, fractionNanoseconds: UInt64) throws(TrafficError) {
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
      let time = UInt64(reader.word(offset)) * 1_000_000_000 + UInt64(reader.word(offset + 4)) * fractionNanoseconds
      try append(
        reader.bytes[offset + 16..<offset + 16 + captured], originalByteCount: reader.word(offset + 12), time: time)
      offset += 16 + captured
    }
  }

  mutating func append(
    _ frame: ArraySlice<UInt8>, originalByteCount: UInt32, time: UInt64?
  ) throws(TrafficError) {
    guard frames.count < TrafficLimits.frameCountMax else {
      throw TrafficError(
        "the file holds more than \(TrafficLimits.frameCountMax) packets: cut it, for example "
          + "editcap -r IN OUT 1-\(TrafficLimits.frameCountMax)")
    }
    frames.append(Array(frame))
    times.append(time)
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
  /// That every frame has an Ethernet header.
  public func checkHeaders() throws(TrafficError) {
    let short = frames.count { $0.count < EthernetHeader.byteCount }
    if short > 0 {
      throw TrafficError("\(short) of \(frames.count) packets are shorter than an Ethernet header: leave them out")
    }
  }

  /// Makes no frame longer than the engine takes.
  ///
  /// - Parameter truncates: Cut frames that are too long instead of refusing them.
  public mutating func fit(truncates: Bool) throws(TrafficError) {
    let limit = TrafficLimits.frameByteCountMax
    let long = frames.count { $0.count > limit }
    if long > 0 && !truncates {
      throw TrafficError("\(long) of \(frames.count) packets are longer than \(limit) bytes: --truncate cuts them")
    }
    for index in frames.indices where frames[index].count > limit { frames[index] = Array(frames[index].prefix(limit)) }
  }

  /// Changes every frame. Traps where one has no Ethernet header: ``checkHeaders()`` comes first.
  public mutating func rewrite(_ rewrite: FrameRewrite) {
    for index in frames.indices { rewrite.apply(to: &frames[index]) }
  }

  /// When to send each frame, as it was recorded.
  ///
  /// A frame recorded before the one that it follows is sent at once behind it. The next round begins after the mean
  /// gap. All at one time is all at once.
  ///
  /// - Parameter speedMillionths: 1,000,000 as recorded; 2,000,000 twice as fast.
  /// - Returns: The pace, and how many frames were recorded before the one they follow.
  public func pace(speedMillionths: UInt64) throws(TrafficError) -> (pace: TrafficPace, outOfOrder: Int) {
    precondition(speedMillionths > 0, "a speed")
    var offsets: [UInt64] = []
    var latest: UInt64 = 0
    var outOfOrder = 0
    let start = (times.first ?? nil) ?? 0
    for time in times {
      guard let time else {
        throw TrafficError("the file doesn't say when its packets were captured: --replay-speed max sends them")
      }
      let offset = time < start ? 0 : time - start
      if time < start || offset < latest { outOfOrder += 1 }
      latest = max(latest, offset)
      guard latest <= TrafficLimits.durationNanosecondsMax else {
        throw TrafficError("the capture lasts longer than 31 days: --replay-speed max ignores its gaps")
      }
      let scaled = UInt128(latest) * 1_000_000 / UInt128(speedMillionths)
      guard scaled <= UInt128(TrafficLimits.durationNanosecondsMax) else {
        throw TrafficError("at that speed the replay lasts longer than 31 days")
      }
      offsets.append(UInt64(scaled))
    }
    let last = offsets.last ?? 0
    let gap = offsets.count > 1 ? last / UInt64(offsets.count - 1) : 0
    return (TrafficPace(offsets: offsets, period: last + gap), outOfOrder)
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
