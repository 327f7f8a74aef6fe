import CSluiceABI
import Packets
import RuleCompiler
import Rules
import TestSupport
import Testing

/// The trie that large sets of IPv4 lie in, beside plain sets, in memory.
@Suite("Large sets of IPv4")
struct SetTrieTests {
  enum Shape: CaseIterable, Sendable {
    /// Hosts of two /16, some hundreds of one.
    case hosts
    /// All hosts of some /24.
    case dense
    /// Every length, /0 among them, in one another.
    case nested
    /// Few addresses, in as many sets as there may be.
    case shared

    var setCount: Int { self == .shared ? Int(SLUICE_SETS_MAX) : 3 }

    func prefix(using random: inout SeededGenerator) -> IPPrefix {
      let bits = UInt32.random(in: 0 ... .max, using: &random)
      func make(_ value: UInt32, _ length: Int) -> IPPrefix { IPPrefix(.v4(IPv4Address(value: value)), length: length) }
      switch self {
      case .hosts: return make(0x0a00_0000 | bits & (random.chance(80) ? 0xffff : 0x1_ffff), 32)
      case .dense: return make(0x0a00_0000 | (bits & 0x300) << 6 | bits & 0xff, 32)
      case .nested: return make(0x0a00_0000 | bits & 0x1_0f3f, Int.random(in: 0...32, using: &random))
      case .shared: return make(0x0a00_0000 | bits & 0x0c07, random.pick([16, 20, 24, 29, 30, 31, 32, 32]))
      }
    }
  }

  private static func ruleSet(_ sets: [Set<IPPrefix>], counting: Bool = true) -> RuleSet {
    var ruleSet = RuleSet(name: "sets", defaultAction: .pass)
    ruleSet.sets = sets.enumerated().map { NamedSet(name: "s\($0.offset)", family: .ipv4, prefixes: Array($0.element)) }
    // Sets that count are large ones, however few elements they have.
    for index in ruleSet.sets.indices { ruleSet.sets[index].hasCounters = counting }
    ruleSet.rules = RuleList(
      sets.indices.map { Rule(name: "r\($0)", match: Match(sources: Condition([], sets: ["s\($0)"])), action: .drop) })
    return ruleSet
  }

  private static func compiled(_ ruleSet: RuleSet) throws -> CompiledGeneration {
    try compile(ruleSet, slots: { _ in 1 }, interfaceIndex: { _ in nil }, generation: 1, captureFallback: .pass)
  }

  private static func bits(_ sets: [Set<IPPrefix>], _ address: UInt32) -> UInt64 {
    let address = IPAddress.v4(IPv4Address(value: address))
    return sets.enumerated().reduce(0) { bits, set in
      (0...32).contains { set.element.contains(IPPrefix(address, length: $0)) } ? bits | 1 << UInt64(set.offset) : bits
    }
  }

  private static func edges(_ prefix: IPPrefix) -> [UInt32] {
    let (first, last) = (prefix.address.ipv4, prefix.lastAddress.ipv4)
    return [first, last, first &- 1, last &+ 1, first ^ 0x8000, last ^ 1]
  }

  @Test("What is built holds what its sets hold, at the edges of each element", arguments: Shape.allCases)
  func built(_ shape: Shape) throws {
    var random = SeededGenerator(announcing: "SetTrieTests.built(\(shape))")
    for count in [1, 20, 300, 3000] {
      let sets = (0..<shape.setCount).map { _ in Set((0..<count).map { _ in shape.prefix(using: &random) }) }
      let tables = TrieTables(try Self.compiled(Self.ruleSet(sets)))
      var isAnnounced = true
      for prefix in Set(sets.joined()).prefix(600) {
        for address in Self.edges(prefix) {
          let (found, wanted) = (tables.lookUp(address), Self.bits(sets, address))
          #expect(found == wanted, "\(IPv4Address(value: address)) of \(prefix)")
        }
        if prefix.length > 16 { isAnnounced = isAnnounced && tables.announces(prefix.length, prefix.address.ipv4) }
      }
      #expect(isAnnounced)
    }
  }

  @Test("A million hosts take 3.3 MB, crowds not much more")
  func size() throws {
    var random = SeededGenerator(announcing: "SetTrieTests.size")
    func byteCount(_ hosts: Set<UInt32>) throws -> Int {
      let set = NamedSet(name: "s0", family: .ipv4, prefixes: hosts.map { IPPrefix(host: .v4(IPv4Address(value: $0))) })
      var ruleSet = Self.ruleSet([[]], counting: false)
      ruleSet.sets = [set]
      return try Self.compiled(ruleSet).words.count { $0 != 0 } * 8
    }
    let anywhere = Set((0..<1_000_000).map { _ in UInt32.random(in: 0x0100_0000..<0xe000_0000, using: &random) })
    #expect(try byteCount(anywhere) < 3_300_000)
    let whole = Set((0..<65536).map { 0x0a00_0000 | $0 as UInt32 })
    #expect(try byteCount(whole) < 4 * whole.count)
    let networks = Set((0..<400).flatMap { _ in
      let network = UInt32.random(in: 0x0100_0000..<0xe000_0000, using: &random) & ~255
      return (0..<256).map { network | $0 as UInt32 }
    })
    #expect(try byteCount(networks) < 5 * networks.count)
  }

  @Test("Edited, with readers on their way: each finds what stays and nothing that never was", arguments: Shape.allCases)
  func edited(_ shape: Shape) throws {
    var random = SeededGenerator(announcing: "SetTrieTests.edited(\(shape))")
    let staying = (0..<shape.setCount).map { _ in Set((0..<30).map { _ in shape.prefix(using: &random) }.filter { $0.length > 8 }) }
    var sets = staying
    let ruleSet = Self.ruleSet(sets)
    let compiled = try Self.compiled(ruleSet)
    let tables = TrieTables(compiled)
    var editor = try #require(SetEditor(compiled, of: ruleSet))
    let watched = (0..<8).map { _ in random.pick(random.pick(staying.filter { !$0.isEmpty })).address.ipv4 }
    let least = watched.map { Self.bits(staying, $0) }
    var wrong: [String] = []
    var depth = 0
    for step in 0..<900 {
      let index = Int.random(in: sets.indices, using: &random)
      let isIn = random.chance(step < 550 ? 75 : 25)
      let known = sets[index].subtracting(staying[index])
      let prefix = isIn || known.isEmpty ? shape.prefix(using: &random) : random.pick(known)
      if !isIn, staying[index].contains(prefix) { continue }
      let readers = watched.flatMap { [tables.begin($0), tables.begin($0, readingHeaders: true)] }
      let before = watched.map { Self.bits(sets, $0) }
      let was = sets[index].contains(prefix)
      if isIn { sets[index].insert(prefix) } else { sets[index].remove(prefix) }
      let after = watched.map { Self.bits(sets, $0) }
      tables.stored = {
        for (place, address) in watched.enumerated() {
          for bits in [tables.lookUp(address), tables.finish(readers[2 * place]), tables.finish(readers[2 * place + 1])]
          where least[place] & ~bits != 0 || bits & ~(before[place] | after[place]) != 0 || before[place] & after[place] & ~bits != 0 {
            wrong.append("\(prefix) of s\(index): \(IPv4Address(value: address)) in \(bits), \(before[place]), \(after[place])")
          }
        }
      }
      let changed = try change(&editor, prefix, "s\(index)", isIn: isIn, tables)
      tables.stored = {}
      if changed != (was != isIn) { wrong.append("\(prefix) is \(changed ? "" : "not ")new") }
      depth = max(depth, tables.begin(prefix.address.ipv4).depth)
      for address in Self.edges(prefix) where tables.lookUp(address) != Self.bits(sets, address) {
        wrong.append("\(IPv4Address(value: address)) behind \(prefix), step \(step)")
      }
      if isIn, prefix.length > 16, !tables.announces(prefix.length, prefix.address.ipv4) { wrong.append("length of \(prefix)") }
      if step % 100 == 0 {
        // Another one, of what is in the tables now.
        var snapshot = compiled
        snapshot.refresh(from: tables)
        editor = try #require(SetEditor(snapshot, of: Self.ruleSet(sets)))
      }
      guard wrong.isEmpty else { break }
    }
    #expect(wrong.isEmpty, "\(wrong.prefix(3))")
    if shape != .dense { #expect(depth > 0, "lists that are never split show nothing") }
  }

  /// With a grace period where one is needed: who began to read before is gone.
  private func change(
    _ editor: inout SetEditor, _ prefix: IPPrefix, _ set: String, isIn: Bool, _ tables: TrieTables
  ) throws -> Bool {
    do throws(SetEditor.Refusal) {
      return try isIn ? editor.insert(prefix, into: set, of: tables) : editor.remove(prefix, from: set, of: tables)
    } catch {
      try #require(error == .needsGracePeriod)
      editor.beginGracePeriod()
      editor.endGracePeriod()
      return try isIn ? editor.insert(prefix, into: set, of: tables) : editor.remove(prefix, from: set, of: tables)
    }
  }

  @Test("Room that is used up is refused, and comes back with what is taken out and a grace period")
  func room() throws {
    var random = SeededGenerator(announcing: "SetTrieTests.room")
    var sets: [Set<IPPrefix>] = [[IPPrefix("10.0.0.1")!]]
    let ruleSet = Self.ruleSet(sets)
    let compiled = try Self.compiled(ruleSet)
    let tables = TrieTables(compiled)
    var editor = try #require(SetEditor(compiled, of: ruleSet))
    func host() -> IPPrefix { IPPrefix(host: .v4(IPv4Address(value: UInt32.random(in: 0 ... .max, using: &random)))) }
    func fill() throws -> SetEditor.Refusal {
      while true {
        let prefix = host()
        do throws(SetEditor.Refusal) {
          if try editor.insert(prefix, into: "s0", of: tables) { sets[0].insert(prefix) }
        } catch {
          if error == .noRoom { return error }
          editor.beginGracePeriod()
          #expect(throws: SetEditor.Refusal.needsGracePeriod, "it has not ended") {
            try editor.insert(prefix, into: "s0", of: tables)
          }
          editor.endGracePeriod()
        }
      }
    }
    #expect(try fill() == .noRoom)
    let count = sets[0].count
    #expect(count > 3000, "room for some thousands")
    func found() -> Int { sets[0].count { tables.lookUp($0.address.ipv4) == 1 } }
    #expect(found() == count)
    for prefix in Array(sets[0]) {
      #expect(try editor.remove(prefix, from: "s0", of: tables))
      sets[0].remove(prefix)
      if tables.lookUp(prefix.address.ipv4) != 0 { Issue.record("\(prefix) is still there") }
    }
    #expect(try fill() == .noRoom)
    #expect(sets[0].count > count * 9 / 10)
    #expect(found() == sets[0].count)
  }
}

extension IPAddress {
  fileprivate var ipv4: UInt32 { UInt32(truncatingIfNeeded: value) }
}
