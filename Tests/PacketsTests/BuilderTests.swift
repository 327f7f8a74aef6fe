import Packets
import TestSupport
import Testing

@Suite("Checksums and built packets")
struct BuilderTests {
  @Test("The checksum of RFC 1071's example, and of RFC 791 headers seen in the wild")
  func checksumVectors() {
    var checksum = InternetChecksum()
    checksum.add([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])
    #expect(checksum.value == ~0xddf2)
    var header = InternetChecksum()
    header.add([
      0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
    ])
    #expect(header.value == 0xb861)
  }

  @Test("Odd lengths are padded with zero, nothing sums to ffff, and carries are folded")
  func checksumEdges() {
    var odd = InternetChecksum()
    odd.add([0x12, 0x34, 0x56])
    var even = InternetChecksum()
    even.add([0x12, 0x34, 0x56, 0x00])
    #expect(odd.value == even.value)
    #expect(InternetChecksum().value == 0xffff)
    var carries = InternetChecksum()
    carries.add(Array(repeating: 0xff, count: 65534))
    #expect(carries.value == 0)
  }

  @Test("Every built packet has right checksums, whatever its parts")
  func checksums() {
    var random = SeededGenerator(announcing: "BuilderTests.checksums")
    for _ in 0..<2000 {
      var packet = RandomCases.packet(using: &random)
      packet.vlanTags = []
      switch packet.network {
      case .ipv4(var header):
        (header.fragmentOffset, header.moreFragments) = (0, false)
        packet.network = .ipv4(header)
      case .ipv6(var header):
        header.extensions = []
        packet.network = .ipv6(header)
      case .other: continue
      }
      let frame = packet.build()
      let payloadStart: Int
      var pseudo = InternetChecksum()
      if case .ipv4 = packet.network {
        payloadStart = 14 + Int(frame[14] & 0xf) * 4
        var header = InternetChecksum()
        header.add(Array(frame[14..<payloadStart]))
        #expect(header.value == 0)
        pseudo.add(Array(frame[26..<34]))
      } else {
        payloadStart = 54
        pseudo.add(Array(frame[22..<54]))
      }
      let end =
        packet.paddedByteCount == 0 ? frame.count : payloadStart + datagramByteCount(frame) - (payloadStart - 14)
      let segment = Array(frame[payloadStart..<end])
      switch packet.transport {
      case .tcp, .udp, .icmpv6:
        pseudo.add(UInt16(packet.transport.protocol.rawValue))
        pseudo.add(UInt16(segment.count))
        pseudo.add(segment)
        #expect(pseudo.value == 0, "seed \(random.seed)")
      case .icmp:
        var checksum = InternetChecksum()
        checksum.add(segment)
        #expect(checksum.value == 0, "seed \(random.seed)")
      case .other: break
      }
    }
  }

  /// From the IP header: bytes from its start to the datagram's end.
  private func datagramByteCount(_ frame: [UInt8]) -> Int {
    frame[14] >> 4 == 4 ? Int(frame[16]) << 8 | Int(frame[17]) : 40 + (Int(frame[18]) << 8 | Int(frame[19]))
  }

  @Test("Fragments put together again are the datagram", arguments: [8, 15, 16, 64, 1480])
  func fragments(byteCount: Int) {
    let packet = PacketBuilder(
      from: .v4(PacketFixtures.source4), to: .v4(PacketFixtures.destination4), .udp(source: 1, destination: 2),
      payload: (0..<1000).map { UInt8(truncatingIfNeeded: $0) })
    let frames = packet.buildFragments(byteCount: byteCount)
    #expect(frames.flatMap { $0[34...] } == Array(packet.build()[34...]))
    #expect(frames.dropLast().allSatisfy { $0[20] & 0x20 != 0 } && frames[frames.count - 1][20] & 0x20 == 0)
    var offset = 0
    for frame in frames {
      #expect((Int(frame[20] & 0x1f) << 8 | Int(frame[21])) * 8 == offset)
      offset += frame.count - 34
    }
    #expect(frames.count == 1 || PacketParser.parse(frames[1]).fragment == .later)
  }

  @Test("IPv6 fragments repeat what comes before the fragment header and cut what comes after")
  func fragments6() {
    var header = PacketBuilder.IPv6(source: PacketFixtures.source6, destination: PacketFixtures.destination6)
    header.extensions = [.options(.hopByHop), .options(.destinationOptions)]
    let packet = PacketBuilder(
      network: .ipv6(header), transport: .udp(source: 7, destination: 9), payload: Array(0..<100))
    let frames = packet.buildFragments(byteCount: 24)
    let whole = packet.build()
    #expect(frames.flatMap { $0[70...] } == Array(whole[62...]))
    #expect(PacketParser.parse(frames[0]).ports == .init(source: 7, destination: 9))
    #expect(PacketParser.parse(frames[0]).fragment == .first)
    for frame in frames.dropFirst() {
      let parsed = PacketParser.parse(frame)
      #expect(parsed.fragment == .later && parsed.protocol == .destinationOptions && parsed.malformed == nil)
    }
  }

  @Test("A payload fills the frame to a size", arguments: [0, 42, 43, 60, 64, 1500, 1514])
  func fill(byteCount: Int) {
    var packet = PacketBuilder(
      from: .v4(PacketFixtures.source4), to: .v4(PacketFixtures.destination4), .udp(source: 1, destination: 2))
    packet.fillPayload(toFrameByteCount: byteCount)
    #expect(packet.build().count == max(byteCount, 42))
    #expect(PacketParser.parse(packet.build()).malformed == nil)
  }

  @Test("A UDP checksum that comes to zero is sent as ffff")
  func udpZero() {
    var packet = PacketBuilder(
      from: .v4(IPv4Address(value: 0)), to: .v4(IPv4Address(value: 0)), .udp(source: 0, destination: 0),
      payload: [0, 0])
    // protocol 17 + length 10 twice: 37; the payload makes the sum ffff.
    packet.payload = [0xff, 0xff - 37]
    #expect(packet.build()[40...41] == [0xff, 0xff])
  }
}
