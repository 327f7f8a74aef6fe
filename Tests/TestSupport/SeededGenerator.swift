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

  /// The seed that belongs to the test's name, so that every run of the tests sees the same cases; `SLUICE_TEST_SEED` in
  /// the environment gives another one, and a new one in each run if it is `random`. Prints it with the name.
  public init(announcing test: String) {
    switch getenv("SLUICE_TEST_SEED").map({ unsafe String(cString: $0) }) {
    case nil: self.init(seed: Self.seed(of: test))
    case "random": self.init(seed: .random(in: 1...UInt64.max))
    case let given?:
      guard let seed = UInt64(given) else { preconditionFailure("SLUICE_TEST_SEED is a number or random, not \(given)") }
      self.init(seed: seed)
    }
    print("\(test): SLUICE_TEST_SEED=\(seed)")
  }

  /// FNV-1a of the name's UTF-8, as `Hasher` differs in each process.
  private static func seed(of name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
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
