import Packets
import Testing

@testable import Traffic

/// Capture files written byte by byte.
struct CaptureBytes {
  var isBigEndian = false
  var bytes: [UInt8] = []

  mutating func add16(_ value: UInt16) { add([UInt8(value >> 8), UInt8(value & 255)]) }
  mutating func add32(_ value: UInt32) { add((0..<4).map { UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * $0)) }) }
  private mutating func add(_ bigEndian: [UInt8]) { bytes += isBigEndian ? bigEndian : bigEndian.reversed() }

  static func pcap(
    _ frames: [[UInt8]], magic: UInt32 = 0xa1b2_c3d4, isBigEndian: Bool = false, linkType: UInt32 = 1,
    original: UInt32 = 0
  ) -> [UInt8] {
    var file = CaptureBytes(isBigEndian: isBigEndian)
    file.add32(magic)
    file.add16(2)
    file.add16(4)
    for value in [0, 0, 262_144, linkType] as [UInt32] { file.add32(value) }
    for frame in frames {
      for value in [1, 2, UInt32(frame.count), max(original, UInt32(frame.count))] { file.add32(value) }
      file.bytes += frame
    }
    return file.bytes
  }

  mutating func block(_ type: UInt32, _ body: [UInt8]) {
    let padded = body + Array(repeating: 0, count: (4 - body.count % 4) % 4)
    add32(type)
    add32(UInt32(padded.count + 12))
    bytes += padded
    add32(UInt32(padded.count + 12))
  }

  private func body(_ build: (inout CaptureBytes) -> Void) -> [UInt8] {
    var body = CaptureBytes(isBigEndian: isBigEndian)
    build(&body)
    return body.bytes
  }

  mutating func section() {
    block(0x0a0d_0d0a, body { $0.add32(0x1a2b_3c4d); $0.add16(1); $0.add16(0); $0.add32(.max); $0.add32(.max) })
  }
  /// `resolution` is if_tsresol, `offset` the low half of if_tsoffset.
  mutating func interface(linkType: UInt16 = 1, snap: UInt32 = 0, resolution: UInt8? = nil, offset: UInt32? = nil) {
    block(1, body {
      $0.add16(linkType)
      $0.add16(0)
      $0.add32(snap)
      if let resolution {
        $0.add16(9)
        $0.add16(1)
        $0.bytes += [resolution, 0, 0, 0]
      }
      if let offset {
        $0.add16(14)
        $0.add16(8)
        for value in $0.isBigEndian ? [0, offset] : [offset, 0] { $0.add32(value) }
      }
      if resolution != nil { $0.add32(0) }
    })
  }
  mutating func enhanced(_ frame: [UInt8], interface: UInt32 = 0, original: UInt32? = nil, time: UInt64 = 0) {
    block(6, body {
      let count = UInt32(frame.count)
      let times = [UInt32(time >> 32), UInt32(truncatingIfNeeded: time)]
      for value: UInt32 in [interface] + times + [count, original ?? count] { $0.add32(value) }
      $0.bytes += frame
    })
  }
  mutating func simple(_ frame: [UInt8], original: UInt32? = nil) {
    block(3, body { $0.add32(original ?? UInt32(frame.count)); $0.bytes += frame })
  }
  mutating func obsolete(_ frame: [UInt8]) {
    block(2, body {
      $0.add16(0)
      $0.add16(9)
      for value: UInt32 in [0, 0, UInt32(frame.count), UInt32(frame.count)] { $0.add32(value) }
      $0.bytes += frame
    })
  }
}

@Suite("Capture files")
struct CaptureFileTests {
  private let frames: [[UInt8]] = [Array(0..<60), Array(repeating: 7, count: 61), Array(repeating: 9, count: 1514)]

  @Test(
    "Classic pcap in both byte orders and both time units",
    arguments: [0xa1b2_c3d4, 0xa1b2_3c4d] as [UInt32], [true, false])
  func readsPcap(_ magic: UInt32, _ isBigEndian: Bool) throws {
    let file = try CaptureFile(parsing: CaptureBytes.pcap(frames, magic: magic, isBigEndian: isBigEndian))
    #expect(file.frames == frames && file.cutCount == 0)
  }

  private func pcapng(isBigEndian: Bool) -> [UInt8] {
    var file = CaptureBytes(isBigEndian: isBigEndian)
    file.section()
    file.interface()
    file.enhanced(frames[0])
    file.block(5, [1, 2, 3, 4])  // statistics: passed over
    file.simple(frames[1])
    file.obsolete(frames[2])
    file.block(0xbad, [])
    return file.bytes
  }

  @Test("pcapng in both byte orders, sections of both in one file, all kinds of packet blocks")
  func readsPcapng() throws {
    #expect(try CaptureFile(parsing: pcapng(isBigEndian: false)).frames == frames)
    #expect(try CaptureFile(parsing: pcapng(isBigEndian: true)).frames == frames)
    let both = pcapng(isBigEndian: true) + pcapng(isBigEndian: false)
    #expect(try CaptureFile(parsing: both).frames == frames + frames)
  }

  @Test("What the capture cut short is counted")
  func countsCutPackets() throws {
    #expect(try CaptureFile(parsing: CaptureBytes.pcap(frames, original: 1515)).cutCount == 3)
    var file = CaptureBytes()
    file.section()
    file.interface(snap: 40)
    file.simple(Array(frames[0].prefix(40)), original: 60)
    let read = try CaptureFile(parsing: file.bytes)
    #expect(read.frames == [Array(frames[0].prefix(40))] && read.cutCount == 1)
  }

  private static func bytes(_ build: (inout CaptureBytes) -> Void) -> [UInt8] {
    var file = CaptureBytes()
    file.section()
    build(&file)
    return file.bytes
  }

  @Test("What can't be sent is refused in words")
  func refuses() throws {
    var damaged = CaptureBytes.pcap(frames)
    damaged[24 + 8 + 3] = 0x7f  // the length of the first record
    let cases: [([UInt8], String)] = [
      ([], "too short"), ([1, 2, 3], "too short"), (Array("hello, world".utf8), "neither"),
      ([0x1f, 0x8b, 8, 0], "gunzip"),
      ([0x28, 0xb5, 0x2f, 0xfd], "unzstd"), (CaptureBytes.pcap([]), "no packets"), (Self.bytes { _ in }, "no packets"),
      (CaptureBytes.pcap(frames, linkType: 113), "link type is 113"), (damaged, "damaged"),
      (CaptureBytes.pcap(frames).dropLast(), "ends within packet 3"), (Self.bytes { $0.enhanced([1, 2]) }, "describe"),
      (Self.bytes { $0.interface(linkType: 101); $0.enhanced([1, 2]) }, "link type is 101"),
      (Self.bytes { $0.interface(); $0.block(6, [0, 0]) }, "cut short"),
      (Self.bytes { for _ in 0..<4097 { $0.interface() } }, "more than 4096 interfaces"),
      (CaptureBytes.pcap(Array(repeating: [], count: 65537)), "more than 65536 packets"),
    ].map { (Array($0), $1) }
    for (bytes, part) in cases {
      let error = try #require(throws: TrafficError.self) { try CaptureFile(parsing: bytes) }
      #expect(error.description.contains(part), "\(error)")
    }
  }

  @Test("Frames that are too long are refused with their number, or cut where asked; too short ones are refused")
  func fits() throws {
    var file = try CaptureFile(parsing: CaptureBytes.pcap([Array(repeating: 1, count: 3401), frames[0]]))
    let long = try #require(throws: TrafficError.self) { try file.fit(truncates: false) }
    #expect(long.description.contains("1 of 2 packets"))
    try file.fit(truncates: true)
    #expect(file.frames.map(\.count) == [3400, 60])
    try file.checkHeaders()
    let short = try CaptureFile(parsing: CaptureBytes.pcap([[1, 2, 3]]))
    #expect(throws: TrafficError.self) { try short.checkHeaders() }
  }

  @Test("Addresses are rewritten only where asked")
  func rewrites() throws {
    var file = try CaptureFile(parsing: CaptureBytes.pcap(frames))
    var rewrite = FrameRewrite()
    file.rewrite(rewrite)
    #expect(file.frames == frames)
    rewrite.destinationMAC = MACAddress(value: 0x0200_0000_0002)
    file.rewrite(rewrite)
    #expect(Array(file.frames[0].prefix(14)) == [2, 0, 0, 0, 0, 2] + Array(6..<14))
  }

  @Test("Cut anywhere or with any bytes changed, a file is read or refused, never trapped on")
  func survivesDamage() {
    let seed = UInt64.random(in: 0 ... .max)
    print("capture file seed \(seed)")
    var random = Seeded(state: seed)
    let small: [[UInt8]] = [Array(0..<20), Array(0..<15), []]
    var ng = CaptureBytes(isBigEndian: true)
    ng.section()
    ng.interface(snap: 18)
    ng.enhanced(small[0])
    ng.simple(small[1])
    ng.obsolete(small[0])
    var rewrite = FrameRewrite()
    (rewrite.destinationMAC, rewrite.vlan) = (MACAddress(value: 1), .set(7))
    let files = [CaptureBytes.pcap(small), CaptureBytes.pcap(small, isBigEndian: true), ng.bytes]
    for file in files {
      for length in 0..<file.count { _ = try? CaptureFile(parsing: Array(file.prefix(length))) }
      for _ in 0..<2000 {
        var bytes = file
        for _ in 0..<Int.random(in: 1...4, using: &random) {
          let values = [0, 1, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)]
          bytes[Int.random(in: 0..<bytes.count, using: &random)] = values.randomElement(using: &random)!
        }
        guard var read = try? CaptureFile(parsing: bytes) else { continue }
        #expect(read.frames.reduce(0) { $0 + $1.count } <= bytes.count, "seed \(seed)")
        _ = try? read.pace(speedMillionths: 1)
        guard (try? read.checkHeaders()) != nil else { continue }
        read.rewrite(rewrite)
        #expect((try? read.fit(truncates: true)) != nil)
      }
    }
  }
}
