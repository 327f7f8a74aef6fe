import Packets
import Testing
import XDPPrograms

@testable import Traffic

@Suite("Flow specifications")
struct SpecificationTests {
  @Test("All keys")
  func parsesAll() throws {
    let flow = try FlowSpecification(
      parsing: "protocol=tcp,source=10.0.0.0/30,destination=192.0.2.1-192.0.2.3,source-port=1-65535,"
        + "destination-port=443,size=3400,vlan=4094,count=1000000000000000,name=Web_1.a-b")
    #expect(flow.transport == .tcp && flow.source.count == 4 && flow.destination.count == 3)
    #expect(flow.sourcePorts?.count == 65535 && flow.destinationPorts?.count == 1)
    #expect(flow.frameSizes == FrameSizes(3400) && flow.vlan == 4094 && flow.packetCount == 1_000_000_000_000_000)
    #expect(flow.name == "Web_1.a-b" && flow.weight == nil)
  }

  @Test(
    "Wrong ones are refused, and the message says what is wrong",
    arguments: [
      ("", "no key=value"), ("protocol", "no key=value"), ("protocol=", "no key=value"), ("=udp", "has no \"\""),
      ("protocol=udp,", "no key=value"), ("protocol=sctp", "udp, tcp, icmp, icmpv6"),
      ("Protocol=udp", "it has protocol"),
      ("source=10.0.0.1,source=10.0.0.2", "twice"), ("source=10.0.0.1/24", "bits set"), ("source=10.0.0.256", "IPv4"),
      ("source=10.0.0.9-10.0.0.1", "write 10.0.0.1-10.0.0.9"), ("source=10.0.0.1-::1", "mixes"), ("source=-", "is not"),
      ("source=10.0.0.1,destination=::1", "two families"), ("protocol=icmp,source=::1", "icmpv6"),
      ("protocol=icmpv6,source=10.0.0.1", "write icmp"), ("protocol=icmp,source-port=1", "no ports"),
      ("source-port=70000", "65535"), ("source-port=-1", "no port"), ("source-port=9-1", "write 1-9"),
      ("source-port=1-2-3", "no port"), ("source-port=01", "no port"), ("size=59", "60 to 3400"),
      ("size=3401", "60 to 3400"), ("vlan=0", "1 to 4094"), ("vlan=4095", "1 to 4094"), ("count=0", "1 to"),
      ("count=18446744073709551616", "1 to"), ("count=1e6", "1 to"), ("weight=1001", "1 to 1000"),
      ("weight=+1", "1 to"), ("count=1,weight=1", "one of them"), ("name=a b", "letters"), ("name=\u{1b}[2J", "letters"),
      ("\u{1b}[2J=1", "has no \"?[2J\""), (String(repeating: "x", count: 1025), "at most 1024"),
      ("size=６０", "60 to 3400"), ("walk=sideways", "together, all, random"), ("size=64:0", "a weight"),
      ("size=imix/64", "stands alone"), ("size=90-80", "ends before"),
    ])
  func refuses(_ text: String, _ part: String) throws {
    let error = try #require(throws: TrafficError.self) { try FlowSpecification(parsing: text) }
    #expect(error.description.contains(part), "\(error)")
    #expect(!error.description.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
  }

  @Test("Any text is parsed or refused, never trapped on")
  func survivesNoise() {
    let seed = UInt64.random(in: 0 ... .max)
    print("flow specification seed \(seed)")
    var random = Seeded(state: seed)
    let words =
      FlowSpecification.keys
      + ["=", ",", "-", "/", "1", "65535", "::", "10.0.0.0/8", "::/0", "udp", "icmp", "é", "\0"]
    for _ in 0..<3000 {
      let text = (0..<Int.random(in: 0...12, using: &random)).map { _ in words.randomElement(using: &random)! }.joined()
      guard let flow = try? FlowSpecification(parsing: text) else { continue }
      let frames = try? FlowFrames(flow, sourceMAC: MACAddress(value: 1), destinationMAC: MACAddress(value: 2))
      _ = frames.map { [$0[0], $0[70_000]] }
    }
  }

  private func frames(_ text: String, size: Int? = nil, ports: Int = 1) throws -> FlowFrames {
    try FlowFrames(
      FlowSpecification(parsing: text), sourceMAC: MACAddress(value: 1), destinationMAC: MACAddress(value: 2),
      sizes: size.map(FrameSizes.init), sourcePortCount: ports)
  }

  @Test("Ranges are walked side by side, round and round")
  func walksRanges() throws {
    let frames = try frames("source=10.0.0.0/31,destination=192.0.2.1,source-port=5-7,destination-port=53")
    #expect(frames.frameCount == 6)
    let packets = (0..<7).map { PacketParser.parse(frames[$0]) }
    #expect(packets.map { $0.source?.description } == ["0", "1", "0", "1", "0", "1", "0"].map { "10.0.0.\($0)" })
    #expect(packets.map { $0.ports?.source } == [5, 6, 7, 5, 6, 7, 5])
    #expect(packets.allSatisfy { $0.ports?.destination == 53 && $0.malformed == nil })
  }

  @Test(
    "Frames have their size, parse, and carry what was asked",
    arguments: [
      ("size=60", 60), ("size=3400", 3400), ("", 64), ("protocol=tcp", 64), ("protocol=icmp", 64),
      ("protocol=icmpv6", 64), ("protocol=tcp,source=2001:db8::/64", 74), ("protocol=tcp,source=::1,vlan=7", 78),
      ("vlan=7,size=64", 64),
    ])
  func buildsFrames(_ text: String, _ byteCount: Int) throws {
    let frames = try text.isEmpty
      ? FlowFrames(FlowSpecification(), sourceMAC: MACAddress(value: 1), destinationMAC: MACAddress(value: 2))
      : frames(text)
    let packet = PacketParser.parse(frames[3])
    #expect(frames[3].count == byteCount && frames.sizes == FrameSizes(byteCount))
    #expect(packet.malformed == nil)
    #expect(packet.vlanTags.map(\.id) == (text.contains("vlan=7") ? [7] : []))
    #expect(Array(frames[3].prefix(12)) == [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1])
  }

  @Test("A size that the headers don't fit in is refused with the least one")
  func refusesShortFrames() throws {
    let error = try #require(throws: TrafficError.self) { try frames("protocol=tcp,source=::1", size: 64) }
    #expect(error.description.contains("at least 74"), "\(error)")
  }

  @Test("Ranges of any size are bounded: the whole of IPv6 is a flow")
  func boundsRanges() throws {
    let plan = try TrafficPlan([FlowSpecification(parsing: "source=::/0,count=100000")], options: .init())
    #expect(plan.flows[0].frames.count == TrafficLimits.frameCountMax && plan.flows[0].frameCountAsked == 100_000)
    #expect(plan.schedule.packetCount == 100_000)
    #expect(try AddressRange(parsing: "::/0").count == .max)
    let last = try AddressRange(parsing: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124")
    #expect(last.count == 16 && last[15] == last.last && last[16] == last.first)
  }

  private func plan(_ texts: [String], _ change: (inout TrafficPlan.Options) -> Void = { _ in }) throws -> TrafficPlan {
    var options = TrafficPlan.Options()
    change(&options)
    return try TrafficPlan(texts.map(FlowSpecification.init(parsing:)), options: options)
  }

  @Test("Plans that contradict themselves are refused")
  func refusesPlans() throws {
    let cases: [([String], (inout TrafficPlan.Options) -> Void, String)] = [
      (["name=a", "name=a"], { _ in }, "two flows"), (["name=flow2", "size=60"], { _ in }, "two flows"),
      (["count=1", "size=60"], { _ in }, "flow2 has no count"), (["count=1"], { $0.packetCount = 5 },
      "one or the other"),
      (["protocol=icmp"], { $0.sourcePortCount = 2 }, "no source ports"),
      (Array(repeating: "size=60", count: 65), { _ in }, "at most 64"),
      (["count=1000000000000000", "count=1"], { _ in }, "together"),
    ]
    for (texts, change, part) in cases {
      let error = try #require(throws: TrafficError.self) { try plan(texts, change) }
      #expect(error.description.contains(part), "\(error)")
    }
  }

  @Test("A total is shared, ports make flows, a run without counts has no end")
  func plans() throws {
    let shared = try plan(["weight=3", "size=60"]) { $0.packetCount = 1001 }
    #expect(shared.flows.map(\.packetCount) == [751, 250] && shared.schedule.packetCount == 1001)
    let many = try plan([]) { $0.sourcePortCount = 64512 }
    #expect(many.flows[0].frames.count == 64512 && many.schedule.packetCount == nil)
    #expect(PacketParser.parse(many.flows[0].frames[64511]).ports?.source == 65535)
  }

  @Test("The limits are the engine's")
  func knowsEngine() {
    #expect(TrafficLimits.frameByteCountMax <= TrafficGenerator.frameByteCountMax)
    #expect(TrafficLimits.frameCountMax == TrafficGenerator.frameCountMax)
  }
}
