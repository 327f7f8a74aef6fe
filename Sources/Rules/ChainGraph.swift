import Packets

/// Which lists of rules lead to which: 0 is the rule set's own, the chain of index `i` is `i + 1`.
struct ChainGraph {
  private struct Node {
    var name: String
    var path: String
    /// Lists that enabled rules lead to, once for each rule.
    var targets: [Int]
    var enabledCount: Int
    var countRules: Int
    var gotos: Int
    var canLeave: Bool
  }

  private let nodes: [Node]

  /// Rules that lead to chains that aren't there are left out.
  init(_ ruleSet: RuleSet) {
    let indices = Dictionary(
      ruleSet.chains.enumerated().map { ($1.name, $0 + 1) }, uniquingKeysWith: { first, _ in first })
    func node(_ name: String, _ path: String, _ rules: RuleList) -> Node {
      var node = Node(
        name: name, path: path, targets: [], enabledCount: 0, countRules: 0, gotos: 0, canLeave: false)
      for rule in rules where rule.isEnabled {
        node.enabledCount += 1
        if rule.action == .count { node.countRules += 1 }
        if case .goTo = rule.action { node.gotos += 1 }
        if rule.action == .leave { node.canLeave = true }
        if let chain = rule.action.chain, let index = indices[chain] { node.targets.append(index) }
      }
      return node
    }
    nodes =
      [node("", "rules", ruleSet.rules)]
      + ruleSet.chains.enumerated().map { node($1.name, "chains[\($0)]", $1.rules) }
  }

  func validate(into issues: inout IssueCollector) {
    guard let order = order(orAdding: &issues) else { return }
    var depth = [Int](repeating: 0, count: nodes.count)
    var visits = [Int](repeating: 0, count: nodes.count)
    visits[0] = 1
    for index in order where visits[index] > 0 {
      for target in nodes[index].targets {
        depth[target] = max(depth[target], depth[index] + 1)
        visits[target] = min(visits[target] + visits[index], Self.most)
      }
    }
    for (index, node) in nodes.enumerated() {
      if depth[index] == Limits.chainDepthMax + 1 {
        issues.add(
          .chainTooDeep, node.path,
          "the chain \(node.name) is reached through \(depth[index]) jumps, and chain_depth_max is \(Limits.chainDepthMax)")
      }
      if visits[index] == 0 {
        issues.add(
          .unreachableChain, node.path, "no rule leads to the chain \(node.name); jump or go to it, or remove it")
      }
    }
    checkSize(visits, into: &issues)
    checkPasses(visits, into: &issues)
  }

  /// Counts are exact up to here.
  private static let most = 1 << 40

  /// Chains behind all that lead to them; nil where some lead back.
  private func order(orAdding issues: inout IssueCollector) -> [Int]? {
    var order: [Int] = []
    var isDone = [Bool](repeating: false, count: nodes.count)
    var path: [Int] = []
    var cycle: [Int]?
    func visit(_ index: Int) {
      if cycle != nil || isDone[index] { return }
      if let start = path.firstIndex(of: index) {
        cycle = Array(path[start...]) + [index]
        return
      }
      path.append(index)
      for target in Set(nodes[index].targets).sorted() { visit(target) }
      path.removeLast()
      isDone[index] = true
      order.append(index)
    }
    for index in nodes.indices { visit(index) }
    guard let cycle else { return order.reversed() }
    let names = cycle.map { nodes[$0].name }.joined(separator: ", ")
    issues.add(.chainCycle, nodes[cycle[0]].path, "chains lead back to themselves: \(names)")
    return nil
  }

  /// A packet's walk starts again behind each rule that counts or leaves.
  private func checkPasses(_ visits: [Int], into issues: inout IssueCollector) {
    var passes = 0
    var worst = (index: 0, count: -1)
    for (index, node) in nodes.enumerated() {
      // Of those that leave a list, a packet meets one.
      let own = min(visits[index] * (node.countRules + (node.canLeave ? 1 : 0) + node.gotos), Self.most)
      passes = min(passes + own, Self.most)
      if own > worst.count { worst = (index, own) }
    }
    guard passes > Limits.countRulesMax else { return }
    let place = worst.index == 0 ? "the most in the rule set's own list" : "the most by the chain \(nodes[worst.index].name)"
    issues.add(
      .tooManyCountRules, nodes[worst.index].path,
      "a packet can pass \(passes) rules that count and go on, or leave their chain, \(place); count_rules_max is "
        + "\(Limits.countRulesMax); every rule that decides counts too")
  }

  private func checkSize(_ visits: [Int], into issues: inout IssueCollector) {
    var total = 0
    var worst = (index: 0, count: -1)
    for (index, node) in nodes.enumerated() {
      let own = min(visits[index] * node.enabledCount, Self.most)
      total = min(total + own, Self.most)
      if own > worst.count { worst = (index, own) }
    }
    guard total > Limits.flattenedRulesMax else { return }
    issues.add(
      .tooManyFlattenedRules, nodes[worst.index].path,
      "each chain stands wherever a rule leads to it: \(total) rules in all, and flattened_rules_max is "
        + "\(Limits.flattenedRulesMax); the most are of the chain \(nodes[worst.index].name), reached \(visits[worst.index]) "
        + "times; jump to it from fewer places")
  }
}
