import Packets
import Rules
import Testing

@testable import Bench

@Suite("Rules and packets of a filter's contest")
struct FilterLoadTests {
  @Test("Each packet is dropped by exactly one rule, and each rule drops as many", arguments: [1, 7, 100, 5000])
  func matches(ruleCount: Int) throws {
    let load = FilterLoad(ruleCount: ruleCount)
    var ruleSet = try RuleSetText.parse(load.rulesText)
    #expect(ruleSet.validate().isEmpty && ruleSet.rules.count == ruleCount)
    let frames = load.frames
    #expect(frames.count >= FilterLoad.frameCountMin && frames.count % ruleCount == 0)
    var hits: [String: Int] = [:]
    for frame in frames.prefix(ruleCount == 5000 ? 200 : frames.count) {
      let decision = ReferenceClassifier.decide(frame, by: ruleSet)
      hits[try #require(decision.ruleName), default: 0] += 1
    }
    if ruleCount < 5000 {
      #expect(hits.count == ruleCount && hits.values.allSatisfy { $0 == frames.count / ruleCount })
    }
    // From behind, the same rules decide: no other matches.
    let first = try #require(frames.first)
    let name = ReferenceClassifier.decide(first, by: ruleSet).ruleName
    ruleSet.rules.reverse()
    #expect(ReferenceClassifier.decide(first, by: ruleSet).ruleName == name)
  }

  @Test("The same number makes the same rules")
  func isRepeatable() {
    #expect(FilterLoad(ruleCount: 50).rulesText == FilterLoad(ruleCount: 50).rulesText)
    #expect(FilterLoad(ruleCount: 50).frames == FilterLoad(ruleCount: 50).frames)
  }
}
