#if canImport(Glibc)
  import Glibc
#endif

/// Random numbers that can be had again: SplitMix64 from a seed that is printed.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  public let seed: UInt64
  private var state: UInt64

  public init(seed: UInt64) {
    self.seed = seed
    state = seed
  }

  /// A new seed, printed with the name of the test; `SLUICE_TEST_SEED` in the environment gives it instead.
  public init(announcing test: String) {
    let given = getenv("SLUICE_TEST_SEED").flatMap { unsafe UInt64(String(cString: $0)) }
    self.init(seed: given ?? UInt64.random(in: 1...UInt64.max))
    print("\(test): SLUICE_TEST_SEED=\(seed)")
  }

  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// True in `percent` of a hundred cases.
  public mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }

  /// An element. Traps on an empty collection.
  public mutating func pick<C: Collection>(_ elements: C) -> C.Element {
    guard let element = elements.randomElement(using: &self) else { preconditionFailure("nothing to pick from") }
    return element
  }

  /// 0 to `count` elements, with repetition.
  public mutating func some<C: Collection>(_ elements: C, upTo count: Int) -> [C.Element] {
    (0..<Int.random(in: 0...count, using: &self)).map { _ in pick(elements) }
  }
}
