import Foundation
import LinuxSystem
import NetworkSupport
import Packets
import Testing
import XDPPrograms

/// Every field that rules match, from the command and the API to packets on a wire.
@Suite("Rules on every header field", .serialized)
struct MatchTests {
  /// One field: a rule for it, and one for its contrary, both among the frames of one address alone.
  struct Case {
    /// Options of `sluice rule add`.
    var options: String
    /// The field in the API's JSON, and its elements.
    var field: String
    var elements: [String]
    var `protocol` = "udp"
    /// Frames that show it.
    var matching: [PacketBuilder]
    /// Frames that show something else.
    var others: [PacketBuilder]
  }

  @Test("A rule of each field, added by the command, and its contrary, by the API, decide about frames on a wire")
  func everyField() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    _ = try stack.sluice("rule-set create edge --default pass")
    // The program is first loaded for no field at all.
    _ = try stack.sluice("attach lan0 --rule-set edge")
    var frames: [[UInt8]] = []
    var expected: [String: Int] = [:]
    for (index, field) in Self.cases.enumerated() {
      let version = Self.version(of: field)
      let place = version == 4 ? "198.51.100.\(index)/32" : "2001:db8::\(index)/128"
      let base = version == nil ? "" : "--to \(place) --protocol \(field.protocol)"
      _ = try stack.sluice("rule add edge is-\(field.field) \(base) \(field.options) --action drop")
      let list = #"["\#(field.elements.joined(separator: #"",""#))"]"#
      let match = version == nil ? "" : #""destinations":["\#(place)"],"protocols":["\#(field.protocol)"],"#
      let contrary = try stack.post(
        "/rule-sets/edge/rules",
        #"{"name":"not-\#(field.field)","match":{\#(match)"\#(field.field)":{"not":\#(list)}},"action":"drop"}"#)
      #expect(contrary.status == 201, "\(contrary.text)")
      for frame in field.matching + field.others { frames.append(Self.addressed(frame, index).build()) }
      expected["is-\(field.field)"] = field.matching.count * Self.rounds
      expected["not-\(field.field)"] = field.others.count * Self.rounds
    }
    let applied = try stack.sluice("apply edge")
    #expect(applied.contains("lan0"), "\(applied)")

    // All at once fit into a veth's ring.
    #expect(frames.count < 128)
    for round in 1...Self.rounds {
      try stack.namespace.perform {
        let lan = try NetworkInterface.named("lan1").index
        try TrafficGenerator(interfaceIndex: lan, frames: frames).send(UInt32(frames.count))
      }
      try stack.wait("all are counted") { try stack.metric("sluice_interface_packets_total") == round * frames.count }
    }
    let counters = JSON(try stack.sluice("counters --json"))[0]["rules"].array
    var counted: [String: Int] = [:]
    for rule in counters { counted[rule["rule"].string ?? ""] = rule["packets"].int }
    for (rule, packets) in expected { #expect(counted[rule] == packets, "\(rule)") }
    #expect(counted["default"] == 0)

    // What was said comes back, in the table and as text that is read again.
    let table = try stack.sluice("rule list edge")
    #expect(table.contains("vlan_ids !7,100-199") && table.contains("tcp_flags syn/syn|ack"), "\(table)")
    try stack.sluice("rule-set show edge").write(toFile: "\(stack.folder)/edge.rules", atomically: true, encoding: .utf8)
    _ = try stack.sluice("rule-set create again --file \(stack.folder)/edge.rules")
    let first = try stack.get("/rule-sets/edge").body["data"]["rules"].array.map { $0["match"]["tcp_flags"][0].string }
    let second = try stack.get("/rule-sets/again").body["data"]["rules"].array.map { $0["match"]["tcp_flags"][0].string }
    #expect(first == second && first.contains("syn/syn|ack"))
  }

  private static let rounds = 3

  /// Nil: the case is about frames that are no IP, or about all.
  private static func version(of field: Case) -> Int? {
    switch (field.matching + field.others).first?.network {
    case .ipv4: 4
    case .ipv6: 6
    default: nil
    }
  }

  /// The frame with the destination of the case.
  private static func addressed(_ frame: PacketBuilder, _ index: Int) -> PacketBuilder {
    var frame = frame
    frame.paddedByteCount = 60
    switch frame.network {
    case .ipv4(var header):
      header.destination = IPv4Address(198, 51, 100, UInt8(index))
      frame.network = .ipv4(header)
    case .ipv6(var header):
      header.destination = IPv6Address("2001:db8::\(index)") ?? header.destination
      frame.network = .ipv6(header)
    case .other:
      break
    }
    return frame
  }

  // MARK: frames

  private static func ipv4(
    _ transport: PacketBuilder.Transport = .udp(source: 4000, destination: 9), payload: Int = 0,
    _ change: (inout PacketBuilder.IPv4) -> Void = { _ in }
  ) -> PacketBuilder {
    var header = PacketBuilder.IPv4(source: IPv4Address(192, 0, 2, 1), destination: IPv4Address(0, 0, 0, 0))
    change(&header)
    return PacketBuilder(
      network: .ipv4(header), transport: transport, payload: Array(repeating: 0, count: payload))
  }

  private static func ipv6(
    _ transport: PacketBuilder.Transport = .udp(source: 4000, destination: 9),
    _ change: (inout PacketBuilder.IPv6) -> Void = { _ in }
  ) -> PacketBuilder {
    let source = IPv6Address(value: 0x2001_0db8_0001 << 80 | 1)
    var header = PacketBuilder.IPv6(source: source, destination: source)
    change(&header)
    return PacketBuilder(network: .ipv6(header), transport: transport)
  }

  private static func tagged(_ tags: VLANTag...) -> PacketBuilder {
    var frame = ipv4()
    frame.vlanTags = tags
    return frame
  }

  private static func between(_ source: MACAddress, _ destination: MACAddress) -> PacketBuilder {
    var frame = ipv4()
    frame.sourceMAC = source
    frame.destinationMAC = destination
    return frame
  }

  private static func flags(_ flags: UInt16) -> PacketBuilder { ipv4(.tcp(source: 1, destination: 2, flags: flags)) }

  private static let one = MACAddress(2, 0, 0, 0, 0, 1)
  private static let other = MACAddress(6, 0, 0, 0, 0, 1)

  private static let cases: [Case] = [
    Case(
      options: "--vlan 7,100-199", field: "vlan_ids", elements: ["7", "100-199"],
      matching: [tagged(VLANTag(id: 7)), tagged(VLANTag(id: 100)), tagged(VLANTag(id: 199), VLANTag(id: 8))],
      others: [tagged(VLANTag(id: 8)), tagged(VLANTag(id: 200)), tagged(VLANTag(id: 99), VLANTag(id: 7))]),
    Case(
      options: "--vlan-priority 5", field: "vlan_priorities", elements: ["5"],
      matching: [tagged(VLANTag(id: 7, priority: 5))], others: [tagged(VLANTag(id: 5, priority: 4))]),
    Case(
      options: "--inner-vlan 3", field: "inner_vlan_ids", elements: ["3"],
      matching: [tagged(VLANTag(etherType: .serviceVLAN, id: 9), VLANTag(id: 3))],
      others: [tagged(VLANTag(etherType: .serviceVLAN, id: 3), VLANTag(id: 9))]),
    Case(
      options: "--inner-vlan-priority 6-7", field: "inner_vlan_priorities", elements: ["6-7"],
      matching: [tagged(VLANTag(id: 1, priority: 0), VLANTag(id: 1, priority: 7))],
      others: [tagged(VLANTag(id: 1, priority: 7), VLANTag(id: 1, priority: 5))]),
    Case(
      options: "--source-mac 02:00:00:00:00:00/fe:00:00:00:00:00", field: "source_macs",
      elements: ["02:00:00:00:00:00/fe:00:00:00:00:00"], matching: [between(one, one)], others: [between(other, one)]),
    Case(
      options: "--destination-mac 06:00:00:00:00:01", field: "destination_macs", elements: ["06:00:00:00:00:01"],
      matching: [between(one, other)], others: [between(other, one)]),
    Case(
      options: "--interface lan0,eth9", field: "interfaces", elements: ["lan0", "eth9"], matching: [ipv4(), ipv4()],
      others: []),
    Case(options: "--queue 0", field: "queues", elements: ["0"], matching: [ipv4()], others: []),
    Case(
      options: "--tcp-flags 'syn/syn|ack'", field: "tcp_flags", elements: ["syn/syn|ack"], protocol: "tcp",
      matching: [flags(0x02), flags(0x102)], others: [flags(0x12), flags(0x10), flags(0)]),
    Case(
      options: "--icmp-type 3,11", field: "icmp_types", elements: ["3", "11"], protocol: "icmp",
      matching: [ipv4(.icmp(type: 3, code: 8)), ipv4(.icmp(type: 11))], others: [ipv4(.icmp(type: 8, code: 3))]),
    Case(
      options: "--icmp-code 4", field: "icmp_codes", elements: ["4"], protocol: "icmpv6",
      matching: [ipv6(.icmpv6(type: 1, code: 4))], others: [ipv6(.icmpv6(type: 4, code: 1))]),
    Case(
      options: "--dscp 46", field: "dscp", elements: ["46"], matching: [ipv4 { $0.trafficClass = 46 << 2 | 1 }],
      others: [ipv4 { $0.trafficClass = 46 }]),
    Case(
      options: "--ecn 3", field: "ecn", elements: ["3"], matching: [ipv6 { $0.trafficClass = 0xff }],
      others: [ipv6 { $0.trafficClass = 0xfc }]),
    Case(
      options: "--ttl 0-1", field: "hop_limits", elements: ["0-1"],
      matching: [ipv4 { $0.timeToLive = 0 }, ipv4 { $0.timeToLive = 1 }], others: [ipv4 { $0.timeToLive = 2 }]),
    Case(
      options: "--flow-label 0x12345", field: "flow_labels", elements: ["0x12345"],
      matching: [ipv6 { $0.flowLabel = 0x12345 }], others: [ipv6 { $0.flowLabel = 0x02345 }, ipv6()]),
    Case(
      options: "--length 0-127", field: "lengths", elements: ["0-127"], matching: [ipv4(payload: 99)],
      others: [ipv4(payload: 100), ipv4(payload: 1000)]),
    Case(
      options: "--fragment first,later", field: "fragments", elements: ["first", "later"],
      matching: [
        ipv4 { $0.moreFragments = true }, ipv4 { $0.fragmentOffset = 1 }, ipv4 { $0.fragmentOffset = 8191 },
      ], others: [ipv4()]),
    Case(
      options: "--header-options present", field: "options", elements: ["present"],
      matching: [
        ipv6 { $0.extensions = [.options(.destinationOptions)] },
        ipv6 { $0.extensions = [.options(.hopByHop), .options(.routing), .authentication()] },
      ], others: [ipv6(), ipv6 { $0.extensions = [.fragment(offset: 0, moreFragments: false)] }]),
    // The last: its contrary matches all that is left.
    Case(
      options: "--ether-type 0x0806", field: "ether_types", elements: ["0x0806"],
      matching: [PacketBuilder(network: .other(.arp), transport: .other(.tcp))],
      others: [PacketBuilder(network: .other(EtherType(rawValue: 0x88cc)), transport: .other(.tcp))]),
  ]
}
