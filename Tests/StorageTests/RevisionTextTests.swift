import Foundation
import Packets
import Rules
import TestSupport
import Testing

@testable import Storage

/// The text of a revision that was put together from the one before is the text that its whole content has.
@Suite struct RevisionTextTests {
  private func whole(_ content: RuleSet) throws -> String {
    var plain = content
    plain.revision = 0
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(plain), as: UTF8.self)
  }

  private static let hostile = [
    "", "plain", #"quo"te"#, #"back\slash"#, #"}],"rules":[]}"#, #"","elements":[]"#, "tab\tline\nend", "Grüße 🙂 \u{2028}",
    #"\"elements\":[]"#, "a/b,c:[{",
  ]

  private func rule(_ name: Int, _ random: inout SeededGenerator) throws -> Rule {
    var rule = Rule(name: "r\(name)", action: Bool.random(using: &random) ? .drop : .pass)
    rule.comment = Self.hostile.randomElement(using: &random) ?? ""
    if Bool.random(using: &random) {
      let match = #"{"sources": ["192.0.2.0/24", "10.0.0.0/8"], "protocols": ["tcp"], "destination_ports": ["1-5", "80"]}"#
      rule.match = try JSONDecoder().decode(Match.self, from: Data(match.utf8))
    }
    return rule
  }

  private func set(_ name: Int, _ random: inout SeededGenerator) -> NamedSet {
    var set = NamedSet(name: "s\(name)", family: .ipv4, comment: Self.hostile.randomElement(using: &random) ?? "")
    set.hasCounters = Bool.random(using: &random)
    for _ in 0..<Int.random(in: 0...20, using: &random) { change(&set, &random) }
    return set
  }

  private func change(_ set: inout NamedSet, _ random: inout SeededGenerator) {
    let address = IPAddress(family: .ipv4, value: UInt128(UInt32.random(in: 0...255, using: &random) << 8))
    let prefix = IPPrefix(address, length: 8 + 4 * Int.random(in: 0...6, using: &random))
    let expiry = Bool.random(using: &random) ? Expiry.at(unixMilliseconds: 1_900_000_000_000) : nil
    set.insert([SetMember(.prefix(prefix), expiry)])
    if Bool.random(using: &random) { set.remove(Array(set.elements.prefix(1))) }
  }

  /// One or a few things differ afterwards, or everything.
  private func edit(_ content: inout RuleSet, _ next: inout Int, _ random: inout SeededGenerator) throws {
    func place(_ count: Int) -> Int { Int.random(in: 0...count, using: &random) }
    next += 1
    switch Int.random(in: 0..<12, using: &random) {
    case 0..<3: content.rules.insert(try rule(next, &random), at: place(content.rules.count))
    case 3: if !content.rules.isEmpty { content.rules.remove(at: place(content.rules.count - 1)) }
    case 4: if !content.rules.isEmpty { content.rules[place(content.rules.count - 1)].comment += "x" }
    case 5: content.rules.shuffle(using: &random)
    case 6: content.chains = next % 2 == 0 ? [] : [Chain(name: "c", comment: Self.hostile[next % 10], rules: [try rule(next, &random)])]
    case 7: content.sets.insert(set(next, &random), at: place(content.sets.count))
    case 8: if !content.sets.isEmpty { content.sets.remove(at: place(content.sets.count - 1)) }
    case 9, 10: if !content.sets.isEmpty { change(&content.sets[place(content.sets.count - 1)], &random) }
    default:
      content.defaultAction = next % 2 == 0 ? .pass : .drop
      if next % 5 == 0 { content.rules = [] }
    }
    content.revision += 1
  }

  @Test("A chain of edits has the texts that the contents have whole")
  func edits() throws {
    var random = SeededGenerator(announcing: "RevisionTextTests.edits")
    for _ in 0..<20 {
      var content = RuleSet(name: "edge")
      var text = try RevisionText(content)
      #expect(String(decoding: text.bytes, as: UTF8.self) == (try whole(content)))
      var next = 0
      for _ in 0..<60 {
        try edit(&content, &next, &random)
        text = try RevisionText(content, after: text)
        let expected = try whole(content)
        try #require(String(decoding: text.bytes, as: UTF8.self) == expected, "edit \(next)")
        #expect(text.digest == (try RevisionText(content)).digest)
      }
    }
  }

  @Test("Common ends are those that there are, of rules and of sets", arguments: [
    ([], [], 0, 0), ([1], [1], 1, 0), ([1], [2], 0, 0), ([1, 2, 3], [1, 3], 1, 1), ([1, 1, 1], [1, 1], 2, 0),
    ([1, 2], [1, 2, 3], 2, 0), ([2, 3], [1, 2, 3], 0, 2), ([1, 2, 3], [4, 5, 6], 0, 0),
  ] as [([UInt16], [UInt16], Int, Int)])
  func ends(_ a: [UInt16], _ b: [UInt16], first: Int, last: Int) {
    let rules = [a, b].map { RuleList($0.map { Rule(name: "r\($0)", action: .drop) }) }
    #expect(rules[0].commonEnds(with: rules[1]) == (first, last))
    guard Set(a).count == a.count, Set(b).count == b.count else { return }
    let sets = [a, b].map { NamedSet(name: "s", ports: $0.map { PortRange($0) }) }
    #expect(sets[0].commonEnds(with: sets[1]) == (first, last))
  }

  @Test("Rules are the same where all their fields are")
  func fields() throws {
    let rule = Rule(name: "r", action: .drop)
    #expect(Mirror(reflecting: rule).children.count == 8, "a field that came is compared, too, and is changed below")
    var others = Array(repeating: rule, count: 8)
    others[0].name = "s"
    others[1].match.hasOptions = true
    others[2].action = .pass
    others[3].comment = "c"
    others[4].isEnabled = false
    others[5].tags = ["t"]
    others[6].owner = "o"
    others[7].expiry = .at(unixMilliseconds: 1)
    for other in others { #expect(RuleList([rule]).commonEnds(with: [other]) == (0, 0)) }
    #expect(RuleList([rule]).commonEnds(with: [rule]) == (1, 0))
  }
}
