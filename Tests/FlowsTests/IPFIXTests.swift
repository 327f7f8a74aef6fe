import Flows
import Packets
import TestSupport
import Testing

@Suite("IPFIX")
struct IPFIXTests {
  private static let example4 = FlowRecord(
    key: FlowKey(
      source: .v4(IPv4Address(192, 0, 2, 1)), destination: .v4(IPv4Address(198, 51, 100, 7)), protocol: .tcp,
      sourcePort: 0x3039, destinationPort: 443, vlanID: 100),
    packets: 3, bytes: 0x1_0203_0405, firstNanoseconds: 5_000_000, lastNanoseconds: 8_999_999, tcpFlags: 0x1b,
    endReason: .endDetected)
  private static let example6 = FlowRecord(
    key: FlowKey(
      source: .v6(IPv6Address(value: 0x2001_0db8 << 96 | 1)), destination: .v6(IPv6Address(value: 0xff02 << 112 | 2)),
      protocol: .icmpv6, destinationPort: 0x8001),
    packets: 1, bytes: 64, firstNanoseconds: 0, lastNanoseconds: 0, endReason: .idleTimeout)

  @Test("A message of both families, byte by byte")
  func message() {
    var encoder = IPFIXEncoder(.init(observationDomain: 0x0102_0304))
    let isSixIn = encoder.append(Self.example6, .init(ingress: 7), realtimeOffset: 1_000_000)
    let isFourIn = encoder.append(Self.example4, .init(ingress: 5, egress: 6), realtimeOffset: 1_000_000_000)
    let bytes = encoder.takeMessage(exportSeconds: 0x6000_0001) ?? []
    let expected =
      "000a 00a8 60000001 00000000 01020304"
      + "0100 0040 c0000201 c6336407 3039 01bb 0000 0064 001b 06 03 00000005 00000006"
      + "0000000102030405 0000000000000003 00000000000003ed 00000000000003f0"
      + "0101 0058 20010db8000000000000000000000001 ff020000000000000000000000000002"
      + "0000 8001 8001 0000 0000 3a 01 00000007 00000000"
      + "0000000000000040 0000000000000001 0000000000000001 0000000000000001"
    #expect(hexadecimal(bytes) == expected.filter { $0 != " " })
    let next = encoder.takeMessage(exportSeconds: 0)
    #expect(isSixIn && isFourIn && encoder.sequence == 2 && next == nil)
  }

  @Test("The templates, byte by byte")
  func templates() {
    var encoder = IPFIXEncoder(.init(observationDomain: 9, sampleEvery: 100))
    let bytes = encoder.takeTemplates(exportSeconds: 1, now: 0) ?? []
    let common =
      "0007 0002 000b 0002 %%%% 0002 003a 0002 0006 0002 0004 0001 0088 0001 000a 0004 000e 0004"
      + "0001 0008 0002 0008 0098 0008 0099 0008"
    let fields = { (icmp: String) in common.split(separator: "%%%%").joined(separator: icmp) }
    let expected =
      "000a 00c4 00000001 00000000 00000009"
      + "0002 0084 0100 000f 0008 0004 000c 0004" + fields("0020") + "0101 000f 001b 0010 001c 0010" + fields("008b")
      + "0003 001a 0102 0004 0001 012e 0008 0130 0002 0131 0004 0132 0004"
      + "0102 0016 0000000000000001 0001 00000001 00000063"
    #expect(hexadecimal(bytes) == expected.filter { $0 != " " })
    #expect(encoder.sequence == 1, "the report is a data record, templates are not")
    var unsampled = IPFIXEncoder()
    let short = unsampled.takeTemplates(exportSeconds: 1, now: 0)
    #expect(short?.count == 16 + 132 && unsampled.sequence == 0)
  }

  @Test("Templates come first, after their time, and after their number of messages")
  func refresh() {
    var encoder = IPFIXEncoder(.init(templateSeconds: 60, templateMessages: 3))
    let second: UInt64 = 1_000_000_000
    func due(_ now: UInt64) -> Bool { encoder.takeTemplates(exportSeconds: 0, now: now) != nil }
    let start = UInt64.max - 5 * second
    #expect(due(start) && !due(start) && !due(start &+ 60 * second - 1) && due(start &+ 60 * second))
    for number in 1...3 {
      #expect(!due(start &+ 61 * second))
      _ = encoder.append(Self.example4, .init(), realtimeOffset: 0)
      let message = encoder.takeMessage(exportSeconds: 0)
      #expect(message != nil, "message \(number)")
    }
    #expect(due(start &+ 61 * second))
  }

  @Test("A collector gets every record back, in messages that fit", arguments: [256, 300, 576, 1400, 9000, 65_000])
  func roundTrip(messageByteCount: Int) throws {
    var random = SeededGenerator(announcing: "IPFIXTests.roundTrip")
    var encoder = IPFIXEncoder(.init(messageByteCountMax: messageByteCount, templateMessages: 5, sampleEvery: 7))
    var decoder = IPFIXDecoder()
    var sent: [IPFIXDecoder.Values] = []
    func export() throws {
      if let templates = encoder.takeTemplates(exportSeconds: 77, now: 0) { try decoder.read(templates) }
      guard let message = encoder.takeMessage(exportSeconds: 77) else { return }
      #expect(message.count <= messageByteCount)
      try decoder.read(message)
    }
    for number in 0..<3000 {
      let record = self.record(random.next(), number, using: &random)
      let interfaces = IPFIXEncoder.Interfaces(ingress: UInt32(number), egress: .random(in: 0...9, using: &random))
      sent.append(values(record, interfaces, offset: 1_600_000_000_000_000_000))
      if !encoder.append(record, interfaces, realtimeOffset: 1_600_000_000_000_000_000) {
        try export()
        let isIn = encoder.append(record, interfaces, realtimeOffset: 1_600_000_000_000_000_000)
        #expect(isIn, "an empty message has room")
      }
      if random.chance(3) { try export() }
    }
    try export()
    // Within a message the families are apart.
    let byPort = { (values: IPFIXDecoder.Values) in values[10] ?? [] }
    let found = decoder.records.sorted { byPort($0).lexicographicallyPrecedes(byPort($1)) }
    #expect(found == sent, "seed \(random.seed)")
    #expect(decoder.samplingSpaces.allSatisfy { $0 == [0, 0, 0, 6] } && !decoder.samplingSpaces.isEmpty)
  }

  private func record(_ bits: UInt64, _ number: Int, using random: inout SeededGenerator) -> FlowRecord {
    var key = flowKey(number)
    if random.chance(20) {
      key = FlowKey(
        source: key.source, destination: key.destination, protocol: key.isIPv6 ? .icmpv6 : .icmp,
        destinationPort: UInt16(truncatingIfNeeded: bits))
    }
    return FlowRecord(
      key: key, packets: random.next() >> 20, bytes: bits, firstNanoseconds: random.next() >> 1,
      lastNanoseconds: random.next() >> 1, tcpFlags: UInt8(truncatingIfNeeded: bits >> 8),
      endReason: random.pick(FlowEndReason.allCases))
  }

  /// By element, as they should stand on the wire.
  private func values(_ record: FlowRecord, _ interfaces: IPFIXEncoder.Interfaces, offset: UInt64)
    -> IPFIXDecoder.Values
  {
    let key = record.key
    func wire<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
      (0..<Number.bitWidth / 8).reversed().map { UInt8(truncatingIfNeeded: number >> Number(8 * $0)) }
    }
    return [
      key.isIPv6 ? 27 : 8: key.source.bytes, key.isIPv6 ? 28 : 12: key.destination.bytes, 7: wire(key.sourcePort),
      11: wire(key.destinationPort), key.isIPv6 ? 139 : 32: wire(key.isICMP ? key.destinationPort : 0),
      58: wire(key.vlanID ?? 0), 6: wire(UInt16(record.tcpFlags)), 4: [key.protocol.rawValue],
      136: [record.endReason.rawValue], 10: wire(interfaces.ingress), 14: wire(interfaces.egress),
      1: wire(record.bytes), 2: wire(record.packets),
      152: wire((record.firstNanoseconds + offset) / 1_000_000),
      153: wire((record.lastNanoseconds + offset) / 1_000_000),
    ]
  }
}
