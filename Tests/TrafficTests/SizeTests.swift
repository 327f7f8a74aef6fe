import Packets
import Testing

@testable import Traffic

@Suite("Size mixes and walks")
struct SizeTests {
  private func counts<Value: Hashable>(_ values: [Value]) -> [Value: Int] {
    values.reduce(into: [:]) { $0[$1, default: 0] += 1 }
  }

  @Test("IMIX is 7 : 4 : 1 of 64, 570 and 1518 bytes on the wire, mixed")
  func mixes() throws {
    let imix = try FrameSizes(parsing: "imix")
    #expect(counts(imix.round) == [60: 7, 566: 4, 1514: 1] && imix == .imix)
    #expect(zip(imix.round, imix.round.dropFirst()).filter { $0 == $1 }.count <= 4, "\(imix.round)")
    #expect(try FrameSizes(parsing: "60:7/566:4/1514:1").round == imix.round)
    #expect(try FrameSizes(parsing: "100:20,200:10").round == [100, 200, 100])
    #expect(try FrameSizes(parsing: "64-128").round == Array(64...128))
    #expect(try FrameSizes(parsing: "64,128,256").round == [64, 128, 256])
    #expect(try FrameSizes(parsing: "60").mean == 60)
  }

  @Test(
    "Wrong mixes are refused",
    arguments: [
      ("", "a size"), ("59", "60 to"), ("99999", "60 to"), ("64:", "a weight"), ("64:1001", "a weight"), ("64,", "a size"),
      ("imix,64", "alone"), ("70-60", "ends before"), ("64 128", "end here"), ("64-", "a size"), ("064", "a size"),
      ((0..<9).map { "\(60 + $0):1000" }.joined(separator: ","), "add up"),
    ])
  func refuses(_ text: String, _ part: String) throws {
    let error = try #require(throws: TrafficError.self) { try FrameSizes(parsing: text) }
    #expect(error.description.contains(part) && error.description.hasSuffix("^"), "\(error)")
  }

  private func plan(_ texts: [String], _ change: (inout TrafficPlan.Options) -> Void = { _ in }) throws -> TrafficPlan {
    var options = TrafficPlan.Options()
    change(&options)
    return try TrafficPlan(texts.map(FlowSpecification.init(parsing:)), options: options)
  }

  @Test(
    "Every flow meets every size as often as the mix says, whatever its number of addresses", arguments: [1, 5, 12, 24])
  func mixesWithinFlows(_ ports: Int) throws {
    let frames = try plan([]) { ($0.sourcePortCount, $0.frameSizes) = (ports, .imix) }.flows[0].frames
    #expect(frames.count == 12 * ports && Set(frames).count == 3 * ports)
    for (_, own) in Dictionary(grouping: frames, by: { PacketParser.parse($0).ports!.source }) {
      #expect(counts(own.map(\.count)) == [60: 7, 566: 4, 1514: 1])
    }
    #expect(frames.allSatisfy { PacketParser.parse($0).malformed == nil })
  }

  @Test("65,536 flows with IMIX: every flow once, sizes in proportion")
  func mixesManyFlows() throws {
    let text = "source=10.0.0.0/24,destination=10.1.0.0/24,walk=all"
    let flow = try plan([text]) { $0.frameSizes = .imix }.flows[0]
    #expect(flow.frames.count == 65536 && flow.frameCountAsked == 65536)
    #expect(Set(flow.frames.map { Array($0[26..<34]) }).count == 65536)
    let bySize = counts(flow.frames.map(\.count))
    #expect(bySize[60, default: 0] - 65536 * 7 / 12 <= 1 && bySize[1514, default: 0] - 65536 / 12 <= 1)
    let cut = try plan(["source=10.0.0.0-10.0.117.47,walk=all"]) { $0.frameSizes = .imix }.flows[0]  // 30,000
    #expect(cut.frames.count == 60_000 && cut.frameCountAsked == 30_000)
  }

  private func pairs(_ text: String, seed: UInt64 = 1, prefix: Int = .max) throws -> [String] {
    try plan([text]) { $0.seed = seed }.flows[0].frames.prefix(prefix).map {
      let packet = PacketParser.parse($0)
      return "\(packet.source!) \(packet.destination!) \(packet.ports!.source)"
    }
  }

  @Test("walk=all meets every pair, source ports first; walk=random the same ones in an order of the seed")
  func walks() throws {
    let text = "source=10.0.0.0/30,destination=10.1.0.1-10.1.0.5,source-port=7-9,walk="
    let all = try pairs(text + "all")
    #expect(all.count == 60 && Set(all).count == 60)
    #expect(all.prefix(3) == ["10.0.0.0 10.1.0.1 7", "10.0.0.0 10.1.0.1 8", "10.0.0.0 10.1.0.1 9"])
    #expect(all[3] == "10.0.0.1 10.1.0.1 7" && all[12] == "10.0.0.0 10.1.0.2 7")
    let random = try pairs(text + "random", seed: 5)
    #expect(random != all && Set(random) == Set(all))
    #expect(try pairs(text + "random", seed: 5) == random)
    #expect(try pairs(text + "random", seed: 6) != random)
    #expect(try pairs(text + "together").count == 60)
    #expect(try pairs("source=10.0.0.1,walk=random").count == 1)
  }

  @Test("A huge range is drawn from all over it, without repeats", arguments: ["10.0.0.0/8", "::/0", "2001:db8::/32"])
  func drawsFromHugeRanges(_ range: String) throws {
    let frames = try plan(["walk=random,source=\(range)"]).flows[0].frames
    let sources = frames.map { PacketParser.parse($0).source! }
    #expect(sources.count == 65536 && Set(sources).count == 65536)
    let prefix = try AddressRange(parsing: range)
    let middle = prefix.first.value + (prefix.last.value - prefix.first.value) / 2
    let high = sources.count { $0.value > middle }
    // Ranges beyond 2^64 are walked in their first 2^64.
    if prefix.count < .max { #expect((31_000...34_500).contains(high)) }
    #expect(Set(sources.map { $0.value & 0xff }).count == 256)
  }

  @Test("A permutation for every count and seed", arguments: [1, 2, 3, 4, 5, 16, 17, 1000] as [UInt64])
  func permutes(_ count: UInt64) {
    for seed in 0..<20 as Range<UInt64> {
      let order = FrameOrder(counts: [count, 1], walk: .random, seed: seed)
      #expect(Set((0..<count).map { order[$0][0] }).count == Int(count))
    }
  }

  @Test("Stamps have room at one place behind the headers of every flow; frames too short for them are refused")
  func makesRoomForStamps() throws {
    let free = try plan(["source=10.0.0.1", "protocol=tcp,source=::1,vlan=7"]) { $0.stampByteCount = 16 }
    #expect(free.stampOffset == 78 && free.flows.map { $0.frames[0].count } == [94, 94])
    let error = try #require(throws: TrafficError.self) {
      try plan(["size=64", "protocol=tcp,source=::1,vlan=7"]) { $0.stampByteCount = 16 }
    }
    #expect(error.description.contains("a stamp takes at least 94"), "\(error)")
  }

  @Test("Frames of UDP over IPv4 that will carry a stamp say that they have no checksum")
  func stamps() throws {
    let plan = try plan(["", "vlan=9"].map { "source=10.0.0.1" + ($0.isEmpty ? "" : ",\($0)") }) {
      $0.stampByteCount = 16
    }
    #expect(plan.stampOffset == 46)
    for flow in plan.flows {
      let frame = flow.frames[0]
      #expect(frame.count == 64 && PacketParser.parse(frame).malformed == nil)
      let udp = flow.name == "flow1" ? 34 : 38
      #expect(Array(frame[udp + 6..<udp + 8]) == [0, 0])
    }
    #expect(try self.plan([]).stampOffset == nil)
  }
}
