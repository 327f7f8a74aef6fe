// Compares what the XDP program decides in the kernel with what others make of the same rules and packets: the reference
// classifier, and libpcap's filters for what they can express. Attaches nothing, sends nothing; needs root.
//
// exactness [VERDICTS [SEED]]: prints a line for each kind of rule set, and fails if any verdict differs.

import LinuxSystem
import RuleCompiler
import TestSupport
import XDPPrograms

guard let wanted = Int(CommandLine.arguments.dropFirst().first ?? "1000000"), wanted >= 1000,
  let seed = UInt64(CommandLine.arguments.dropFirst(2).first ?? "1")
else {
  fatalError("usage: exactness [VERDICTS, at least 1000 [SEED]]")
}

var random = SeededGenerator(seed: seed)
var comparison = Comparison()

func percent(_ share: Int) -> Int { wanted / 100 * share }

try comparison.run("random fields and frames", verdicts: percent(35)) {
  let ruleSet = RandomCases.ruleSet(rulesUpTo: 40, using: &random) { $0.entryCount <= 300 }
  return (ruleSet, Comparison.frames(4000) { RandomCases.frame(using: &random) })
}
try comparison.run("chains and named sets", verdicts: percent(15)) {
  let ruleSet = RandomCases.compilableRuleSet(rulesUpTo: 16, entriesPerRule: 100, using: &random)
  return (ruleSet, Comparison.frames(4000) { RandomCases.frame(using: &random) })
}
// The reference walks all rules: fewer packets where they are many.
for (ruleCount, share) in [(100, 5), (1000, 1)] {
  for shape in LargeRuleSet.Shape.allCases {
    try comparison.run("\(shape), \(ruleCount) rules", verdicts: percent(share)) {
      let large = LargeRuleSet(shape, ruleCount: ruleCount, using: &random)
      return (large.ruleSet, Comparison.frames(20_000) { large.frame(using: &random) })
    }
  }
}
for shape in LargeRuleSet.Shape.allCases {
  try comparison.run("\(shape), 10000 rules", verdicts: percent(1) / 7 + 1) {
    let large = LargeRuleSet(shape, ruleCount: 10_000, using: &random)
    var ruleSet = large.ruleSet
    // With many that count, the hardest shapes are refused.
    for index in ruleSet.rules.indices where ruleSet.rules[index].action == .count { ruleSet.rules[index].action = .pass }
    return (ruleSet, Comparison.frames(5000) { large.frame(using: &random) })
  }
}
for shape in LargeRuleSet.Shape.allCases {
  try comparison.run("\(shape), 100 rules, libpcap", verdicts: percent(1), oracle: .libpcap) {
    let large = LargeRuleSet(shape, ruleCount: 100, using: &random)
    return (large.ruleSet, Comparison.frames(20_000) { large.frame(using: &random) })
  }
}
comparison.finish()
