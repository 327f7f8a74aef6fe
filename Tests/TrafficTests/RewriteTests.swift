import Packets
import Testing

@testable import Traffic

@Suite("Rewritten captures")
struct RewriteTests {
  private func rewritten(_ frame: [UInt8], _ maps: [String] = [], vlan: FrameRewrite.VLAN? = nil) throws -> [UInt8] {
    var rewrite = FrameRewrite()
    rewrite.addresses = try maps.map(FrameRewrite.AddressMap.init(parsing:))
    rewrite.vlan = vlan
    var frame = frame
    rewrite.apply(to: &frame)
    return frame
  }

  private static let transports: [PacketBuilder.Transport] = [
    .udp(source: 53, destination: 40_000), .tcp(source: 1, destination: 2), .icmp(), .icmpv6(), .other(.gre),
  ]

  @Test("Moved addresses give the frame that was built with them, checksums and all", arguments: transports)
  func movesAddresses(_ transport: PacketBuilder.Transport) throws {
    let seed = UInt64.random(in: 0 ... .max)
    var random = Seeded(state: seed)
    for _ in 0..<500 {
      let isIPv6 = transport == .icmpv6() || (transport != .icmp() && Bool.random(using: &random))
      func address(_ high: UInt128, _ low: UInt128) -> IPAddress {
        IPAddress(family: isIPv6 ? .ipv6 : .ipv4, value: isIPv6 ? high << 64 | low : high << 24 | low & 0xff_ffff)
      }
      let payload = (0..<Int.random(in: 0...99, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      let low = (0..<2).map { _ in UInt128.random(in: 0...UInt128(UInt64.max), using: &random) }
      func build(_ high: UInt128) -> PacketBuilder {
        var builder = PacketBuilder(from: address(high, low[0]), to: address(high, low[1]), transport, payload: payload)
        builder.vlanTags = low[0] % 2 == 0 ? [VLANTag(id: 5)] : []
        return builder
      }
      let map = isIPv6 ? "0:0:0:a::/64=0:0:0:c6::/64" : "10.0.0.0/8=198.0.0.0/8"
      #expect(try rewritten(build(10).build(), [map]) == build(0xc6).build(), "seed \(seed)")
      // Maps of the other family, and of networks that it isn't in, leave it alone; the first that fits decides.
      let others = ["11.0.0.0/8=12.0.0.0/8", "fd00::/64=fd01::/64"]
      #expect(try rewritten(build(10).build(), others) == build(10).build())
      #expect(try rewritten(build(10).build(), others + [map, map]) == build(0xc6).build())
    }
  }

  @Test("Fragments: the first has the checksum, later ones only an IP header to fix")
  func movesFragments() throws {
    func fragments(_ net: UInt8) -> [[UInt8]] {
      PacketBuilder(
        from: .v4(IPv4Address(net, 0, 0, 1)), to: .v4(IPv4Address(net, 9, 9, 9)), .udp(source: 1, destination: 2),
        payload: Array(repeating: 0xa5, count: 300)
      ).buildFragments(byteCount: 128)
    }
    #expect(try fragments(10).map { try rewritten($0, ["10.0.0.0/8=172.0.0.0/8"]) } == fragments(172))
    func longer(_ net: UInt128) -> [[UInt8]] {
      var packet = PacketBuilder(
        from: .v6(IPv6Address(value: net << 112 | 1)), to: .v6(IPv6Address(value: net << 112 | 2)),
        .tcp(source: 1, destination: 2), payload: Array(repeating: 0x5a, count: 300))
      if case .ipv6(var header) = packet.network {
        header.extensions = [.options(.hopByHop)]
        packet.network = .ipv6(header)
      }
      return packet.buildFragments(byteCount: 128)
    }
    #expect(try longer(0xfd00).map { try rewritten($0, ["fd00::/16=2001::/16"]) } == longer(0x2001))
  }

  @Test("UDP without a checksum stays without; a wrong checksum stays wrong by as much; ARP is moved too")
  func keepsWhatWas() throws {
    let packet = PacketBuilder(
      from: .v4(IPv4Address(10, 0, 0, 1)), to: .v4(IPv4Address(10, 0, 0, 2)), .udp(source: 1, destination: 2))
    var frame = packet.build()
    (frame[40], frame[41]) = (0, 0)
    let moved = try rewritten(frame, ["10.0.0.0/24=10.0.1.0/24"])
    #expect(moved[40] == 0 && moved[41] == 0 && moved[28] == 1 && PacketParser.parse(moved).malformed == nil)
    let arp: [UInt8] =
      Array(repeating: 0xff, count: 6) + [2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + [2, 0, 0, 0, 0, 1]
      + [10, 0, 0, 7] + [0, 0, 0, 0, 0, 0, 10, 0, 0, 8]
    let movedARP = try rewritten(arp, ["10.0.0.0/24=192.0.2.0/24"])
    #expect(Array(movedARP[28..<32]) == [192, 0, 2, 7] && Array(movedARP[38..<42]) == [192, 0, 2, 8])
  }

  @Test("A tag is set, replaced with its priority kept, or taken away")
  func tags() throws {
    var packet = PacketBuilder(
      from: .v4(IPv4Address(10, 0, 0, 1)), to: .v4(IPv4Address(10, 0, 0, 2)), .udp(source: 1, destination: 2))
    let plain = packet.build()
    packet.vlanTags = [VLANTag(id: 7)]
    let tagged = packet.build()
    packet.vlanTags = [VLANTag(id: 4094), VLANTag(id: 3)]
    let double = packet.build()
    #expect(try rewritten(plain, vlan: .set(7)) == tagged && rewritten(tagged, vlan: .strip) == plain)
    #expect(try rewritten(double, vlan: .strip) == plain && rewritten(plain, vlan: .strip) == plain)
    var prior = tagged
    prior[14] |= 0xe0
    #expect(try Array(rewritten(prior, vlan: .set(4095))[12..<16]) == [0x81, 0, 0xef, 0xff])
  }

  @Test(
    "Maps that are none are refused with a caret",
    arguments: [
      ("", "FROM=TO"), ("10.0.0.0/8", "FROM=TO"), ("10.0.0.0/8=", "not a"), ("10.0.0.0/8=fd00::/8", "one family"),
      ("10.0.0.0/8=10.0.0.0/9", "one family"), ("10.0.0.1/8=10.0.0.0/8", "bits set"), ("x=10.0.0.0/8", "IPv4"),
    ])
  func refusesMaps(_ text: String, _ part: String) throws {
    let error = try #require(throws: TrafficError.self) { try FrameRewrite.AddressMap(parsing: text) }
    #expect(error.description.contains(part) && error.description.hasSuffix("^"), "\(error)")
  }

  @Test("Any bytes can be rewritten: nothing but addresses, tags and checksums changes")
  func survivesNoise() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("rewrite seed \(seed)")
    var random = Seeded(state: seed)
    let packet = PacketBuilder(
      from: .v6(IPv6Address(value: 1)), to: .v6(IPv6Address(value: 2)), .tcp(source: 1, destination: 2))
    for round in 0..<20_000 {
      var frame = round % 2 == 0 ? packet.build() : (0..<80).map { _ in UInt8.random(in: 0...255, using: &random) }
      for _ in 0..<3 {
        let place = Int.random(in: 12..<frame.count, using: &random)
        frame[place] = [0, 4, 6, 44, 0x45, 0x81, 255].randomElement(using: &random)!
      }
      frame = Array(frame.prefix(Int.random(in: 14...frame.count, using: &random)))
      let moved = try rewritten(frame, ["0.0.0.0/1=128.0.0.0/1", "::/1=8000::/1"])
      #expect(moved.count == frame.count, "seed \(seed)")
      let tagged = try rewritten(frame, vlan: .set(1))
      #expect(tagged.count - frame.count == 0 || tagged.count - frame.count == 4)
      _ = try rewritten(frame, vlan: .strip)
    }
  }

  @Test("Recorded gaps: either order of bytes, any resolution, pcap and pcapng", arguments: [true, false])
  func readsTimes(_ isBigEndian: Bool) throws {
    var file = CaptureBytes(isBigEndian: isBigEndian)
    file.section()
    file.interface()  // microseconds
    file.interface(resolution: 9, offset: 5)
    file.interface(resolution: 0x8a)  // 1/1024 s
    file.interface(resolution: 12)
    file.interface(resolution: 0)
    let frame = Array(repeating: 0 as UInt8, count: 60)
    for (interface, time) in zip(0..<5 as Range<UInt32>, [2_500_000, 7, 1536, 9_000_000_000_000, 11] as [UInt64]) {
      file.enhanced(frame, interface: interface, time: time)
    }
    let read = try CaptureFile(parsing: file.bytes)
    #expect(read.times == [2_500_000_000, 5_000_000_007, 1_500_000_000, 9_000_000_000, 11_000_000_000])
    let (pace, outOfOrder) = try read.pace(speedMillionths: 2_000_000)
    #expect(outOfOrder == 1)
    #expect(
      (0..<6).map { pace.time(of: $0) }
        == [0, 1_250_000_003, 1_250_000_003, 3_250_000_000, 4_250_000_000, 5_312_500_000])
    file.simple(frame)
    let untimed = try CaptureFile(parsing: file.bytes)
    #expect(throws: TrafficError.self) { try untimed.pace(speedMillionths: 1_000_000) }
  }

  @Test(
    "pcap's fractions are micro- or nanoseconds; a time of 2106 is no trap",
    arguments: [0xa1b2_c3d4, 0xa1b2_3c4d] as [UInt32])
  func readsPcapTimes(_ magic: UInt32) throws {
    var bytes = CaptureBytes.pcap([Array(repeating: 1, count: 60), Array(repeating: 2, count: 60)], magic: magic)
    let file = try CaptureFile(parsing: bytes)
    #expect(file.times == Array(repeating: magic == 0xa1b2_c3d4 ? 1_000_002_000 : 1_000_000_002, count: 2))
    #expect(try file.pace(speedMillionths: 1_000_000).pace.isUnlimited)
    let second = 24 + 16 + 60
    bytes.replaceSubrange(second..<second + 8, with: Array(repeating: 0xff, count: 8))
    let long = try CaptureFile(parsing: bytes)
    let error = try #require(throws: TrafficError.self) { try long.pace(speedMillionths: 1_000_000) }
    #expect(error.description.contains("31 days"))
  }
}
