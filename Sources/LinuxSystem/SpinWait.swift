import CLinuxShims

/// Between two looks at memory that another CPU writes.
///
/// A look takes the cache line from its writer, whose next store waits for it. So who finds something every time looks less
/// often, some microseconds at most; who finds nothing looks again soon.
public struct SpinWait: Sendable {
  private var turns = SpinWait.least

  private static var least: UInt32 { 4 }
  private static var most: UInt32 { 128 }

  public init() {}

  /// After a look that found something, or nothing.
  public mutating func pause(foundSomething: Bool) {
    turns = foundSomething ? min(turns &* 2, SpinWait.most) : max(turns / 2, SpinWait.least)
    for _ in 0..<turns { sluice_spin_hint() }
  }
}
