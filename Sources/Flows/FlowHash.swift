/// Where flows stand in a table: products of 64 × 64 bits, folded, over secret words.
@frozen
@usableFromInline struct FlowSeeds: BitwiseCopyable {
  // Not an InlineArray: reading one through a borrowed value copies it.
  @usableFromInline let first: UInt64
  @usableFromInline let second: UInt64
  @usableFromInline let third: UInt64
  @usableFromInline let fourth: UInt64
  @usableFromInline let last: UInt64

  /// `seed` gives all words, for tests; nil: secret ones.
  init(_ seed: UInt64?) {
    var state = seed ?? 0
    func next() -> UInt64 {
      if seed == nil { return UInt64.random(in: 0 ... .max) }
      state = state &* 0x5851_f42d_4c95_7f2d &+ 0x1405_7b7e_f767_814f
      return state ^ state >> 29
    }
    first = next()
    second = next()
    third = next()
    fourth = next()
    last = next() | 1
  }

  @inlinable @inline(__always)
  func hash(_ key: FlowKey) -> Int {
    let ends = FlowSeeds.fold(key.first ^ first, key.rest ^ second)
    let more = FlowSeeds.fold(key.second ^ third, key.third ^ fourth)
    return Int(truncatingIfNeeded: FlowSeeds.fold(ends ^ more ^ key.fourth, last))
  }

  @inlinable @inline(__always)
  static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
  }
}
