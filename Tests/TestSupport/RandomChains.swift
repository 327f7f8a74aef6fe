import Packets
import RuleCompiler
import Rules

extension RandomCases {
  /// The same as ``chainedRuleSet(rulesUpTo:using:accepting:)``, and it compiles: what several rules lead into multiplies, now and
  /// then beyond the limit.
  ///
  /// - Parameter entriesPerRule: So many entries a rule takes by itself, at most.
  public static func compilableRuleSet(
    rulesUpTo count: Int, entriesPerRule: Int, using random: inout SeededGenerator
  ) -> RuleSet {
    while true {
      let set = chainedRuleSet(rulesUpTo: count, using: &random) { $0.entryCount <= entriesPerRule }
      let generation = try? compile(
        set, slots: { _ in 1 }, interfaceIndex: { _ in 1 }, generation: 1, captureFallback: .pass)
      if generation != nil { return set }
    }
  }

  /// A rule set without errors, with chains that jump and go to one another, rules that return, and sets, empty ones among
  /// them.
  ///
  /// - Parameter accepting: which rules may be in it, before sets are added to their matches.
  public static func chainedRuleSet(
    rulesUpTo count: Int = 12, using random: inout SeededGenerator, accepting: (Rule) -> Bool = { _ in true }
  ) -> RuleSet {
    var set = ruleSet(rulesUpTo: count, using: &random, accepting: accepting)
    set.sets = sets(using: &random)
    let names = (0..<Int.random(in: 0...4, using: &random)).map { "chain-\($0)" }
    for (index, name) in names.enumerated() {
      var chain = Chain(name: name, comment: random.chance(30) ? "of \(index) # odd" : "")
      for number in 0..<Int.random(in: 0...5, using: &random) {
        var next = rule(named: "\(name)-\(number)", using: &random)
        while !accepting(next) { next = rule(named: "\(name)-\(number)", using: &random) }
        chain.rules.append(next)
      }
      lead(&chain.rules, to: Array(names[(index + 1)...]), using: &random)
      for index in chain.rules.indices { addSets(to: &chain.rules[index].match, of: set.sets, using: &random) }
      set.chains.append(chain)
    }
    lead(&set.rules, to: names, using: &random)
    for index in set.rules.indices { addSets(to: &set.rules[index].match, of: set.sets, using: &random) }
    return set
  }

  private static func lead(_ rules: inout RuleList, to chains: [String], using random: inout SeededGenerator) {
    for index in rules.indices {
      if random.chance(20) { rules[index].action = .leave }
      guard random.chance(50), !chains.isEmpty else { continue }
      let chain = random.pick(chains)
      rules[index].action = random.chance(70) ? .jump(chain: chain) : .goTo(chain: chain)
      if random.chance(50) { rules[index].match = Match() }
    }
  }

  private static func sets(using random: inout SeededGenerator) -> [NamedSet] {
    func texts(_ all: [String]) -> [String] { random.some(all, upTo: 4) }
    var sets: [NamedSet] = []
    let four = ["10.0.0.0/8", "10.1.2.3", "10.1.2.2/31", "192.0.2.0/24", "0.0.0.0/0", "10.1.0.0/16"]
    let six = ["2001:db8::/32", "2001:db8::1", "fe80::/10", "::1", "8000::/1", "2001:db8:0:1::/64"]
    for (name, kind, elements) in [
      ("four", NamedSet.Kind.ipv4, texts(four)), ("four-2", .ipv4, texts(four)), ("six", .ipv6, texts(six)),
      ("ports", .ports, texts(["22", "80-443", "53", "1024-65535", "0"])), ("none", .ipv4, []), ("no-ports", .ports, []),
    ] {
      var set = NamedSet(name: name, kind: kind, comment: random.chance(20) ? "why # so" : "")
      set.insert(elements.compactMap { try? SetElement(parsing: $0, for: kind) })
      sets.append(set)
    }
    return sets
  }

  private static func addSets(to match: inout Match, of sets: [NamedSet], using random: inout SeededGenerator) {
    let addresses = sets.filter { $0.kind != .ports }.map(\.name)
    let ports = sets.filter { $0.kind == .ports }.map(\.name)
    func named(_ names: [String]) -> [String] { random.chance(25) ? Array(Set(random.some(names, upTo: 2))).sorted() : [] }
    match.sources.sets = named(addresses)
    match.destinations.sets = named(addresses)
    if !match.sources.isEmpty, match.sources.elements.isEmpty { match.sources.isNegated = random.chance(30) }
    if !match.destinations.isEmpty, match.destinations.elements.isEmpty { match.destinations.isNegated = random.chance(30) }
    guard Set(match.protocols).isSubset(of: [.tcp, .udp]), !match.protocols.isEmpty, !match.protocols.isNegated else { return }
    match.destinationPorts.sets = named(ports)
  }
}
