import Foundation
import JSONValues
import Packets
import Rules
import Testing

@Suite("Rules that end")
struct ExpiryTests {
  private static let moment: Int64 = 1_795_275_527_000

  private func rule(_ name: String, _ expiry: Expiry?) -> Rule { Rule(name: name, action: .drop, expiry: expiry) }

  @Test(
    "The text form says a moment or a time, and is what is read back",
    arguments: [
      ("2026-11-21T15:38:47Z", Expiry.at(unixMilliseconds: moment)),
      ("2026-11-21T16:38:47.000+01:00", .at(unixMilliseconds: moment)), ("90s", .after(seconds: 90)),
      ("90m", .after(seconds: 5400)), ("12h", .after(seconds: 43_200)), ("7d", .after(seconds: 604_800)),
    ])
  func text(_ text: String, _ expiry: Expiry) throws {
    let read = try RuleSetText.parseRule("r: udp dport 53 tag a owner b expires \(text) drop  # why")
    #expect(read.expiry == expiry && read.comment == "why" && read.tags == ["a"])
    #expect(try RuleSetText.parseRule(RuleSetText.print(read)) == read)
  }

  @Test(
    "What is no end of a rule is refused where it stands",
    arguments: [
      "soon", "0s", "-1s", "1.5h", "s", "9999999999999999999d", "3661d", "316224001s", "2026-11-21", "2026-02-30T00:00:00Z",
      "2026-11-21T24:00:00Z", "2026-11-21T15:38:47", "1s expires 2s", "\"1s\"", "",
    ])
  func hostile(_ text: String) {
    #expect(throws: RuleTextError.self) { try RuleSetText.parseRule("r: expires \(text) drop") }
  }

  @Test("The JSON form has expires_at or ttl_seconds; both, other types and what is out of bounds are refused")
  func json() throws {
    for rule in [rule("a", .at(unixMilliseconds: Self.moment)), rule("a", .after(seconds: 5)), rule("a", nil)] {
      let data = try JSONEncoder().encode(rule)
      #expect(try JSONDecoder().decode(Rule.self, from: data) == rule)
    }
    #expect(String(decoding: try JSONEncoder().encode(rule("a", .after(seconds: 5))), as: UTF8.self).contains("\"ttl_seconds\":5"))
    let hostile = [
      #""expires_at":"x""#, #""expires_at":5"#, #""ttl_seconds":0"#, #""ttl_seconds":-1"#, #""ttl_seconds":316224001"#,
      #""ttl_seconds":"5""#, #""ttl_seconds":9223372036854775808"#, #""ttl_seconds":5,"expires_at":"2026-11-21T15:38:47Z""#,
    ]
    for members in hostile {
      let text = #"{"name":"a","action":"drop",\#(members)}"#
      #expect(throws: DecodingError.self, "\(members)") { try JSONDecoder().decode(Rule.self, from: Data(text.utf8)) }
    }
    let answered = #"{"name":"a","action":"drop","expires_at":null,"ttl_seconds":null,"expired":false}"#
    #expect(try JSONDecoder().decode(Rule.self, from: Data(answered.utf8)) == rule("a", nil))
  }

  @Test("Values that no reader lets in are found by the validation", arguments: [
    Expiry.after(seconds: 0), .after(seconds: .max), .after(seconds: .min), .at(unixMilliseconds: .max),
    .at(unixMilliseconds: .min),
  ])
  func validation(_ expiry: Expiry) {
    var ruleSet = RuleSet(name: "s", rules: [rule("a", expiry)])
    #expect(ruleSet.validate().map(\.code) == [.invalidExpiry])
    ruleSet.fixExpiry(atUnixMilliseconds: Self.moment)
    #expect(ruleSet.validate().map(\.code) == [.invalidExpiry], "accepting it makes it no better")
  }

  @Test("A time begins when the rule set is accepted, once, also in chains, and ends in the year 9999 at the latest")
  func fixing() {
    var ruleSet = RuleSet(
      name: "s", rules: [rule("a", .after(seconds: 5)), rule("b", .at(unixMilliseconds: 7)), rule("c", nil)],
      chains: [Chain(name: "x", rules: [rule("d", .after(seconds: 1))])])
    ruleSet.fixExpiry(atUnixMilliseconds: Self.moment)
    let fixed = ruleSet
    #expect(ruleSet.allRules.map(\.expiresAtUnixMilliseconds) == [Self.moment + 5000, 7, nil, Self.moment + 1000])
    ruleSet.fixExpiry(atUnixMilliseconds: Self.moment + 60_000)
    #expect(ruleSet == fixed)
    var last = RuleSet(name: "s", rules: [rule("a", .after(seconds: 5))])
    last.fixExpiry(atUnixMilliseconds: RFC3339.range.upperBound)
    #expect(last.rules[0].expiresAtUnixMilliseconds == RFC3339.range.upperBound)
    #expect(last.validate().isEmpty)
  }

  @Test("What is left at a moment: rules end at it, not after it; the others stay in their order")
  func leaving() {
    let ruleSet = RuleSet(
      name: "s", revision: 3,
      rules: [rule("a", .at(unixMilliseconds: 10)), rule("b", nil), rule("c", .at(unixMilliseconds: 11))],
      chains: [Chain(name: "x", rules: [rule("d", .at(unixMilliseconds: 9)), rule("e", nil)])])
    #expect(ruleSet.nextExpiry?.unixMilliseconds == 9 && ruleSet.nextExpiry?.ruleCount == 3)
    #expect(ruleSet.expiring(atUnixMilliseconds: 8).left == ruleSet)
    let (left, expired, _) = ruleSet.expiring(atUnixMilliseconds: 10)
    #expect(left.allRules.map(\.name) == ["b", "c", "e"] && expired.map(\.name) == ["a", "d"] && left.revision == 3)
    #expect(left.expiring(atUnixMilliseconds: .max).left.nextExpiry == nil)
  }
}
