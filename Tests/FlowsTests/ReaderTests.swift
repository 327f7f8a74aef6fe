import Flows
import Packets
import TestSupport
import Testing

@Suite("The reader of flows")
struct ReaderTests {
  private func read(_ bytes: [UInt8], whole: Int? = nil, port: UInt16 = 3) -> FlowReading {
    var copy = bytes
    var span = copy.mutableSpan
    let frame = span.mutableBytes
    return FlowReader.read(frame, packetByteCount: whole ?? bytes.count, ingressPort: port)
  }

  /// Where the reader and the reference parser say different things of a frame.
  private func difference(_ bytes: [UInt8]) -> String? {
    let reading = read(bytes)
    let packet = PacketParser.parse(bytes)
    switch reading {
    case .malformed: return packet.malformed == nil ? "malformed here only" : nil
    case .other: return packet.malformed == nil && packet.family == .other ? nil : "no IP here only"
    case .flow(let flow):
      if packet.malformed != nil || packet.family == .other { return "a flow here only" }
      let key = flow.key
      guard key.source == packet.source, key.destination == packet.destination, key.protocol == packet.protocol
      else { return "addresses or protocol differ" }
      if key.vlanID != packet.vlanTags.first?.id { return "VLANs differ" }
      if key.ingressPort != 3 { return "ingress port \(key.ingressPort)" }
      if let ports = packet.ports, ports.source != key.sourcePort || ports.destination != key.destinationPort {
        return "ports differ"
      }
      if packet.ports == nil, key.sourcePort != 0 { return "a source port of nothing" }
      if packet.ports == nil, key.destinationPort != 0, !key.isICMP || packet.fragment == .later {
        return "a destination port of nothing"
      }
      let start = 14 + 4 * packet.vlanTags.count
      if flow.byteCount != byteCount(bytes, at: start, packet.family) { return "\(flow.byteCount) bytes" }
      if flow.tcpFlags != 0, packet.protocol != .tcp || packet.ports == nil { return "flags of nothing" }
      return nil
    }
  }

  /// What the IP header says.
  private func byteCount(_ bytes: [UInt8], at start: Int, _ family: ParsedPacket.Family) -> UInt32 {
    func number(_ offset: Int) -> UInt32 { UInt32(bytes[offset]) << 8 | UInt32(bytes[offset + 1]) }
    if family == .ipv4 { return number(start + 2) }
    let payload = number(start + 4)
    return payload == 0 && bytes[start + 6] == 0 ? UInt32(bytes.count - start) : payload + 40
  }

  @Test("It agrees with the reference parser on every fixture", arguments: PacketFixtures.all)
  func fixture(_ fixture: PacketFixture) { #expect(difference(fixture.bytes) == nil) }

  @Test("It agrees with the reference parser on any bytes")
  func anyBytes() {
    var random = SeededGenerator(announcing: "ReaderTests.anyBytes")
    var flows = 0
    for round in 0..<200_000 {
      let bytes =
        switch round % 3 {
        case 0: RandomCases.bytes(upTo: 96, using: &random)
        case 1: RandomCases.damaged(random.pick(PacketFixtures.all).bytes, using: &random)
        default: RandomCases.frame(using: &random)
        }
      if let fault = difference(bytes) {
        Issue.record("\(fault): \(bytes), seed \(random.seed)")
        return
      }
      if case .flow = read(bytes) { flows += 1 }
    }
    #expect(flows > 50_000, "most frames are flows")
  }

  @Test("ICMP's type and code stand in the destination port", arguments: [(8, 0), (3, 13), (255, 255)])
  func icmp(type: UInt8, code: UInt8) throws {
    let pairs: [(String, String, PacketBuilder.Transport)] = [
      ("192.0.2.1", "192.0.2.2", .icmp(type: type, code: code)),
      ("2001:db8::1", "2001:db8::2", .icmpv6(type: type, code: code)),
    ]
    for (source, destination, transport) in pairs {
      let frame = PacketBuilder(
        from: try IPAddress(parsing: source), to: try IPAddress(parsing: destination), transport)
      guard case .flow(let flow) = read(frame.build()) else { throw Unexpected() }
      #expect(flow.key.destinationPort == UInt16(type) << 8 | UInt16(code))
      #expect(flow.key.sourcePort == 0 && flow.key.isICMP)
      let icmp = try #require(flow.key.icmp)
      #expect(icmp.type == type && icmp.code == code)
      #expect(flow.key.description.hasSuffix(" type \(type) code \(code) \(source) > \(destination)"))
    }
  }

  @Test("TCP's flags are read, padding is not counted, the outer VLAN is the flow's")
  func details() throws {
    var frame = PacketBuilder(
      from: try IPAddress(parsing: "192.0.2.1"), to: try IPAddress(parsing: "192.0.2.2"),
      .tcp(source: 1, destination: 2, flags: 0x19), payload: [1, 2, 3])
    frame.vlanTags = [VLANTag(etherType: .serviceVLAN, id: 4095, priority: 7), VLANTag(id: 7)]
    frame.paddedByteCount = 200
    guard case .flow(let flow) = read(frame.build()) else { throw Unexpected() }
    #expect(flow.tcpFlags == 0x19 && flow.byteCount == 43 && flow.key.vlanID == 4095)
  }

  @Test("A packet in several buffers counts whole, as long as the first has its headers")
  func pieces() throws {
    let frame = PacketBuilder(
      from: try IPAddress(parsing: "192.0.2.1"), to: try IPAddress(parsing: "192.0.2.2"),
      .tcp(source: 1, destination: 2), payload: Array(repeating: 1, count: 5000)
    ).build()
    for length in 0..<frame.count {
      let reading = read(Array(frame.prefix(length)), whole: frame.count)
      if length < 54 {
        #expect(reading == .malformed)
      } else {
        guard case .flow(let flow) = reading else { throw Unexpected() }
        #expect(flow.byteCount == 5040)
      }
    }
  }

  @Test("A key gives back what it was made of")
  func parts() throws {
    for number in 0..<1000 {
      let key = flowKey(number * 7919)
      let again = FlowKey(
        source: key.source, destination: key.destination, protocol: key.protocol, sourcePort: key.sourcePort,
        destinationPort: key.destinationPort, vlanID: key.vlanID, ingressPort: key.ingressPort)
      #expect(again == key)
    }
    let far = FlowKey(
      source: .v4(IPv4Address(255, 255, 255, 255)), destination: .v4(IPv4Address(0, 0, 0, 0)),
      protocol: IPProtocol(rawValue: 255), sourcePort: 65535, destinationPort: 0, vlanID: 4095, ingressPort: 511)
    #expect(far.vlanID == 4095 && far.ingressPort == 511 && far.protocol.rawValue == 255 && !far.isIPv6)
  }
}

struct Unexpected: Error {}
