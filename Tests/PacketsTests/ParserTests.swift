import Packets
import TestSupport
import Testing

@Suite("The reference parser")
struct ParserTests {
  @Test("Every fixture parses to what its name says", arguments: PacketFixtures.all)
  func fixture(_ fixture: PacketFixture) {
    let packet = PacketParser.parse(fixture.bytes)
    #expect(packet.family == fixture.family)
    #expect(packet.malformed == fixture.malformed)
    #expect(packet.protocol == fixture.protocol)
    #expect(packet.fragment == fixture.fragment)
    #expect(packet.ports == fixture.ports)
  }

  @Test("Fixtures have names of their own, and meet every malformed reason")
  func corpus() {
    #expect(Set(PacketFixtures.all.map(\.name)).count == PacketFixtures.all.count)
    #expect(Set(PacketFixtures.all.compactMap(\.malformed)) == Set(MalformedReason.allCases))
  }

  @Test("Addresses of both families are read from where they stand")
  func addresses() {
    let all = PacketFixtures.all.filter { $0.malformed == nil }
    for fixture in all where fixture.family == .ipv4 {
      let packet = PacketParser.parse(fixture.bytes)
      #expect(packet.source == .v4(PacketFixtures.source4))
      #expect(packet.destination == .v4(PacketFixtures.destination4))
    }
    for fixture in all where fixture.family == .ipv6 {
      let packet = PacketParser.parse(fixture.bytes)
      #expect(packet.source == .v6(PacketFixtures.source6))
      #expect(packet.destination == .v6(PacketFixtures.destination6))
    }
  }

  @Test("VLAN tags come outermost first, and never more than two")
  func tags() {
    var packet = PacketBuilder(network: .other(.arp), transport: .other(.tcp), payload: [])
    let tags = [
      VLANTag(etherType: .serviceVLAN, id: 4095, priority: 7), VLANTag(id: 1), VLANTag(id: 2),
    ]
    packet.vlanTags = Array(tags.prefix(2))
    #expect(PacketParser.parse(packet.build()).vlanTags == Array(tags.prefix(2)))
    packet.vlanTags = tags
    #expect(PacketParser.parse(packet.build()).vlanTags == Array(tags.prefix(2)))
    #expect(tags[0].id == 4095 && tags[0].priority == 7)
  }

  @Test("No bytes crash the parser, and what it says never contradicts itself")
  func anyBytes() {
    var random = SeededGenerator(announcing: "ParserTests.anyBytes")
    for round in 0..<210_000 {
      var bytes: [UInt8]
      switch round % 3 {
      case 0:
        bytes = RandomCases.bytes(upTo: 96, using: &random)
        if bytes.count > 14, random.chance(90) {
          bytes.replaceSubrange(12..<15, with: random.chance(50) ? [0x08, 0, 0x45] : [0x86, 0xdd, 0x60])
        }
      case 1: bytes = RandomCases.damaged(random.pick(PacketFixtures.all).bytes, using: &random)
      default: bytes = RandomCases.frame(using: &random)
      }
      let packet = PacketParser.parse(bytes)
      if let fault = contradiction(in: packet, of: bytes) {
        Issue.record("\(fault): \(packet) from \(bytes), seed \(random.seed)")
        return
      }
    }
  }

  private func contradiction(in packet: ParsedPacket, of bytes: [UInt8]) -> String? {
    if packet.ports != nil, packet.malformed != nil { return "ports of a malformed packet" }
    if packet.ports != nil, packet.fragment == .later { return "ports of a later fragment" }
    if packet.ports != nil, packet.protocol != .tcp, packet.protocol != .udp { return "ports of no protocol" }
    if packet.vlanTags.count > 2 { return "too many tags" }
    if packet.malformed == nil {
      switch packet.family {
      case .other:
        if packet.source != nil || packet.protocol != nil || packet.fragment != .none { return "IP without IP" }
      case .ipv4, .ipv6:
        guard packet.source != nil, packet.destination != nil, let number = packet.protocol else {
          return "a well-formed packet without addresses or protocol"
        }
        if packet.fragment != .later, number.hasPorts != (packet.ports != nil) { return "ports lost" }
        if packet.family == .ipv6, packet.fragment != .later, number.isIPv6Extension { return "walk ended early" }
      }
    }
    let other = PacketParser.parse(bytes + Array(repeating: 0xa5, count: 7))
    if packet.malformed == nil, packet.protocol != other.protocol || other.malformed != nil,
      !isJumbogram(bytes)
    {
      return "padding changed a well-formed packet"
    }
    return nil
  }

  /// All bytes belong to a jumbogram, padding too; so it isn't padding.
  private func isJumbogram(_ bytes: [UInt8]) -> Bool {
    let start = 14 + 4 * PacketParser.parse(bytes).vlanTags.count
    return bytes.count > start + 6 && bytes[start] >> 4 == 6 && bytes[start + 4...start + 6].allSatisfy { $0 == 0 }
  }
}
