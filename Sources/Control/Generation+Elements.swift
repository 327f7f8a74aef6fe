import CSluiceABI
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// Elements of sets that count. They keep their counters over generations: by the names of their sets.
extension PreparedGeneration {
  var countedSets: [NamedSet] { applied?.sets.filter(\.hasCounters) ?? [] }

  /// Whether packets that the rule takes count at elements, which the tables say by its slot.
  func counts(for rule: Rule) -> Bool {
    let named = rule.match.sources.sets + rule.match.destinations.sets
    return !named.isEmpty && countedSets.contains { named.contains($0.name) }
  }

  /// - Parameter previous: What is live; nil: nothing that is known.
  func countedElements(after previous: PreparedGeneration?) -> CountedElements {
    let sets = countedSets
    let former = previous?.countedSets ?? []
    var elements = CountedElements { sets.flatMap { $0.counterKeys(of: $0.prefixes) } }
    func same(_ set: NamedSet, _ others: [NamedSet]) -> NamedSet? {
      others.first { $0.name == set.name && $0.kind == set.kind }
    }
    for set in sets {
      guard let old = same(set, former) else {
        elements.new += set.counterKeys(of: set.prefixes)
        continue
      }
      let difference = set.difference(from: old)
      // Those that only end at another moment are not new.
      elements.new += set.counterKeys(of: difference.inserted.map(\.element).filter { !old.contains($0) }.prefixes)
      elements.gone += set.counterKeys(of: difference.removed.prefixes)
    }
    for set in former where same(set, sets) == nil { elements.gone += set.counterKeys(of: set.prefixes) }
    return elements
  }

  /// The set, if it counts.
  func countedSet(named name: String) -> NamedSet? { countedSets.first { $0.name == name } }
}

extension [SetElement] {
  /// Those that are.
  var prefixes: [IPPrefix] { compactMap { if case .prefix(let prefix) = $0 { prefix } else { nil } } }
}
