import CSluiceABI
import LinuxSystem
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

@testable import XDPPrograms

@Suite("Live sets are edited in place", .serialized)
struct SetEditingTests {
  private func verdict(_ frame: [UInt8], by ruleSet: RuleSet, _ slots: [String: UInt32]) -> UInt32 {
    ReferenceClassifier.decide(frame, by: ruleSet).ruleName.map { slots[$0]! } ?? 0
  }

  private func probe(_ generation: CompiledGeneration, _ frames: [[UInt8]]) throws -> ClassificationProbe {
    let probe = try generation.withUnsafeBytes { try ClassificationProbe($0) }
    for frame in frames { #expect(try probe.add(frame)) }
    return probe
  }

  @Test("Elements put in and taken out: verdicts are the reference's at every stage", arguments: LargeSetCases.Shape.allCases)
  func stages(_ shape: LargeSetCases.Shape) throws {
    var random = SeededGenerator(announcing: "SetEditingTests.stages(\(shape))")
    let cases = LargeSetCases(shape, count: 1500, using: &random)
    let others = LargeSetCases(shape, count: 2000, using: &random)
    var ruleSet = cases.ruleSet
    let slots = LargeSetTests.slots(of: ruleSet)
    let generation = try LargeSetTests.compiled(ruleSet)
    let frames = (0..<512).map { $0 % 2 == 0 ? cases.frame(using: &random) : others.frame(using: &random) }
    let probe = try probe(generation, frames)
    let half = Half(live: probe.liveHalf)
    var editor = try #require(SetEditor(generation, of: ruleSet))
    var waits = 0
    for stage in 0..<12 {
      for _ in 0..<150 {
        let index = Int.random(in: ruleSet.sets.indices, using: &random)
        let set = ruleSet.sets[index]
        // More come than go at first, then the other way round.
        if random.chance(stage < 6 ? 70 : 25) {
          let prefix = random.pick(others.elements + cases.elements)
          guard prefix.family == set.family else { continue }
          let isNew = try waiting(&editor, &waits) { (editor) throws(SetEditor.Refusal) in
            try editor.insert(prefix, into: set.name, of: half)
          }
          #expect(isNew == !set.contains(.prefix(prefix)))
          ruleSet.sets[index].insert([.prefix(prefix)])
        } else {
          let prefix = random.pick(set.prefixes)
          let isGone = try waiting(&editor, &waits) { (editor) throws(SetEditor.Refusal) in
            try editor.remove(prefix, from: set.name, of: half)
          }
          #expect(isGone)
          #expect(try !editor.remove(prefix, from: set.name, of: half), "it is gone")
          ruleSet.sets[index].remove([.prefix(prefix)])
        }
      }
      _ = try probe.run(period: 512, count: 512)
      for (index, frame) in frames.enumerated() {
        #expect(probe.verdict(index).slot == verdict(frame, by: ruleSet, slots), "stage \(stage), \(frame)")
      }
    }
    #expect(waits < 100, "small tables are not that full")
    #expect(throws: SetEditor.Refusal.notLarge) { try editor.insert(IPPrefix("10.0.0.1")!, into: "none", of: half) }
  }

  /// The probe's runs are over, nobody reads what was replaced.
  private func waiting(
    _ editor: inout SetEditor, _ waits: inout Int, _ change: (inout SetEditor) throws(SetEditor.Refusal) -> Bool
  ) throws -> Bool {
    while true {
      do throws(SetEditor.Refusal) {
        return try change(&editor)
      } catch {
        try #require(error == .needsGracePeriod)
        waits += 1
        editor.beginGracePeriod()
        editor.endGracePeriod()
      }
    }
  }

  @Test("A tenth more come with a few grace periods, under packets; where there is no room all is as it was", arguments: [48, 64, 96, 128])
  func manyAtOnce(_ length: Int) throws {
    var random = SeededGenerator(announcing: "SetEditingTests.manyAtOnce(\(length))")
    func prefix() -> IPPrefix {
      let bits = UInt128.random(in: 0 ... .max, using: &random)
      return IPPrefix(.v6(IPv6Address(value: 0x2001_0db8 << 96 | bits >> 32)), length: length)
    }
    let all = Array(Set((0..<28_000).map { _ in prefix() }))
    let (staying, coming, tooMany) = (all[..<12_000], Array(all[12_000..<13_200]), Array(all[13_200...]))
    var ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    ruleSet.rules = [Rule(name: "in", match: Match(sources: Condition([], sets: ["s"])), action: .drop)]
    ruleSet.sets = [NamedSet(name: "s", family: .ipv6, prefixes: Array(staying))]
    let generation = try LargeSetTests.compiled(ruleSet)
    let target = IPPrefix("2001:db8::1")!.address
    let packets = Array(staying.prefix(1024)) + coming.prefix(512) + tooMany.prefix(256) + tooMany.suffix(256)
    let probe = try probe(generation, packets.map { PacketBuilder(from: $0.address, to: target, .udp(source: 1, destination: 2)).build() })
    func found() throws -> [Bool] {
      _ = try probe.run(period: 2048, count: 2048)
      return packets.indices.map { probe.verdict($0).slot == 1 }
    }
    #expect(try found() == packets.indices.map { $0 < 1024 })
    let half = Half(live: probe.liveHalf)
    var editor = try #require(SetEditor(generation, of: ruleSet))
    var waits = 0
    /// Every grace period finds the elements that stay where packets look for them.
    func waiting() {
      waits += 1
      if (try? found().prefix(1024).contains(false)) != false { Issue.record("an element that stays was missed") }
    }
    try editor.change("s", inserted: coming, removed: [], in: half, waiting: waiting)
    #expect((1...SetEditor.gracePeriodsMax).contains(waits), "\(waits) for \(coming.count) elements")
    #expect(try found() == packets.indices.map { $0 < 1536 })
    waits = 0
    #expect(throws: SetEditor.Refusal.noRoom) {
      try editor.change("s", inserted: tooMany, removed: coming, in: half, waiting: waiting)
    }
    #expect(waits <= 2 * SetEditor.gracePeriodsMax)
    #expect(try found() == packets.indices.map { $0 < 1536 })
    try editor.change("s", inserted: [], removed: coming, in: half, waiting: waiting)
    #expect(try found() == packets.indices.map { $0 < 1024 })
  }

  @Test("Between what comes and what goes packets are waited for: an address that changes its prefix is in the set throughout", arguments: IPFamily.allCases)
  func coverChanges(_ family: IPFamily) throws {
    func prefix(_ v4: String, _ v6: String) throws -> IPPrefix { try #require(IPPrefix(family == .ipv4 ? v4 : v6)) }
    let (narrow, wide) = (try prefix("10.0.0.5/32", "2001:db8::5/128"), try prefix("10.0.0.0/16", "2001:db8::/32"))
    let others = try (0..<400).map { try prefix("10.7.\($0 / 200).\($0 % 200)/32", "2001:db9::\(String($0, radix: 16))/128") }
    var ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    ruleSet.rules = [Rule(name: "in", match: Match(sources: Condition([], sets: ["s"])), action: .drop)]
    ruleSet.sets = [NamedSet(name: "s", family: family, prefixes: others + [narrow])]
    let generation = try LargeSetTests.compiled(ruleSet)
    let neighbour = try prefix("10.0.9.9/32", "2001:db8::9/128")
    let target = try prefix("192.0.2.1/32", "2001:db8::1/128").address
    let packets = [narrow, neighbour].map { PacketBuilder(from: $0.address, to: target, .udp(source: 1, destination: 2)).build() }
    let probe = try probe(generation, packets)
    func found() throws -> [Bool] {
      _ = try probe.run(period: 2, count: 2)
      return packets.indices.map { probe.verdict($0).slot == 1 }
    }
    let half = Half(live: probe.liveHalf)
    var editor = try #require(SetEditor(generation, of: ruleSet))
    #expect(try found() == [true, false])
    for (coming, going, after) in [(wide, narrow, [true, true]), (narrow, wide, [true, false])] {
      var seen: [[Bool]] = []
      try editor.change("s", inserted: [coming], removed: [going], in: half) { seen.append((try? found()) ?? []) }
      #expect(seen.last == [true, true], "both are there while packets are waited for")
      #expect(try found() == after)
    }
  }

  @Test("Updates at full rate: what stays in a set is found in it and what never was isn't", arguments: IPFamily.allCases)
  func underTraffic(_ family: IPFamily) throws {
    var random = SeededGenerator(announcing: "SetEditingTests.underTraffic(\(family))")
    func host() -> IPPrefix {
      let bits = UInt128.random(in: 0 ... .max, using: &random)
      return family == .ipv4
        ? IPPrefix(host: .v4(IPv4Address(value: 0x0a00_0000 | UInt32(truncatingIfNeeded: bits) & 0x3_ffff)))
        : IPPrefix(.v6(IPv6Address(value: 0x2001_0db8 << 96 | bits & (0xffff << 64 | 0xffff_ffff))), length: bits & 1 == 0 ? 128 : 64)
    }
    let all = Set((0..<2600).map { _ in host() }).sorted { $0.address.value < $1.address.value }
    try #require(all.count > 2300)
    let (staying, moving, never) = (all[..<500], Array(all[500..<1500]), all[1500...])
    var ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    ruleSet.rules = [Rule(name: "in", match: Match(sources: Condition([], sets: ["s"])), action: .drop)]
    ruleSet.sets = [NamedSet(name: "s", family: family, prefixes: Array(staying))]
    let generation = try LargeSetTests.compiled(ruleSet)
    let target = family == .ipv4 ? IPPrefix("192.0.2.1")!.address : IPPrefix("2001:db8::1")!.address
    // Hosts of /64 that aren't in the set are in none of its networks either: their third word tells.
    let elsewhere = never.filter { prefix in !all[..<1500].contains { $0.contains(prefix.address) } }
    let frames = (staying.prefix(256) + elsewhere.prefix(256)).map {
      PacketBuilder(from: $0.address, to: target, .udp(source: 1, destination: 2)).build()
    }
    try #require(frames.count == 512)
    let probe = try probe(generation, frames)
    let editing = UncheckedBox(try Editing(SetEditor(generation, of: ruleSet)!, Half(live: probe.liveHalf), moving))
    var wrong: [Int] = []
    try repeating(name: "editor", { editing.value.step() }) {
      let end = SystemClock.monotonicNanoseconds() + 3_000_000_000
      while SystemClock.monotonicNanoseconds() < end, wrong.isEmpty {
        _ = try probe.run(period: 512, count: 4096)
        for index in frames.indices where probe.verdict(index).slot != (index < 256 ? 1 : 0) { wrong.append(index) }
      }
    }
    #expect(wrong.isEmpty, "\(wrong.first.map { "\(frames[$0])" } ?? "")")
    #expect(editing.value.count > 2000 && editing.value.refused > 0, "\(editing.value.count) updates, \(editing.value.refused) refused")
  }

  /// Fills the tables until there is no room, and empties them, in crowds whose lists split meanwhile. One thread's at a time.
  private final class Editing {
    private var editor: SetEditor
    private let half: Half
    private let barrier: ProgramBarrier
    private let elements: [IPPrefix]
    private var inside: [IPPrefix] = []
    private var isFilling = true
    private var next = 0
    private(set) var count = 0
    /// How often insertions found no room at once.
    private(set) var refused = 0

    init(_ editor: SetEditor, _ half: Half, _ elements: [IPPrefix]) throws {
      barrier = try ProgramBarrier()
      (self.editor, self.half, self.elements) = (editor, half, elements)
    }

    func step() {
      guard isFilling, next < elements.count else { return empty() }
      let some = elements[next..<min(next + 100, elements.count)]
      do throws(SetEditor.Refusal) {
        try editor.change("s", inserted: Array(some), removed: [], in: half) {
          refused += 1
          barrier.wait()
        }
        inside += some
        next += some.count
        count += some.count
      } catch {
        refused += 1
        isFilling = false
      }
    }

    private func empty() {
      guard let element = inside.popLast() else {
        (isFilling, next) = (true, 0)
        return
      }
      _ = try? editor.remove(element, from: "s", of: half)
      count += 1
    }
  }
}
