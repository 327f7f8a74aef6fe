import Packets
import Rules

/// What one alternative of a condition asks of an address.
struct AddressTest: Hashable {
  /// Nil: any.
  var prefix: IPPrefix?
  /// By bits of large sets.
  var sets = Ternary()

  /// Nil: nothing is in both.
  func intersection(_ other: AddressTest) -> AddressTest? {
    if sets.contradicts(other.sets) { return nil }
    let both = sets | other.sets
    guard let prefix, let others = other.prefix else {
      return AddressTest(prefix: prefix ?? other.prefix, sets: both)
    }
    // Prefixes lie apart or one in the other.
    if prefix.contains(others) { return AddressTest(prefix: others, sets: both) }
    return others.contains(prefix) ? AddressTest(prefix: prefix, sets: both) : nil
  }
}

/// What both lists allow, each once.
func common(_ left: [AddressTest], _ right: [AddressTest], _ work: inout Expansion.Work) throws(Expansion.ListTooLong) -> [AddressTest] {
  if left == [AddressTest()] { return right }
  if right == [AddressTest()] { return left }
  return try Expansion.intersections(of: left, and: right, &work) { $0.intersection($1) }
}

/// What a condition leaves of the addresses of one family.
func addressTests(
  _ condition: Condition<IPPrefix>, _ family: IPFamily, _ large: LargeSets, _ work: inout Expansion.Work
) throws(Expansion.ListTooLong) -> [AddressTest] {
  if condition.isEmpty { return [AddressTest()] }
  try work.spend(condition.count * (condition.isNegated ? 2 * family.bitCount : 8))
  let bits = condition.sets.compactMap { name -> UInt64? in
    guard let place = large.places[name], place.family == family else { return nil }
    return 1 << UInt64(place.bit)
  }
  let prefixes = prefixes(condition, family).map { AddressTest(prefix: $0) }
  if prefixes.count > Limits.entriesMax { throw Expansion.ListTooLong() }
  guard condition.isNegated else { return prefixes + bits.map { AddressTest(sets: Ternary(value: $0, mask: $0)) } }
  let none = Ternary(value: 0, mask: bits.reduce(0, |))
  return prefixes.map { AddressTest(prefix: $0.prefix, sets: none) }
}
