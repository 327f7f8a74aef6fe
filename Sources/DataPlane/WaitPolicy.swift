/// What a packet thread does while there are no packets.
public enum WaitMode: String, Hashable, Sendable, CaseIterable {
  /// Looks again, without end: the lowest latency, and a whole CPU.
  case spin
  /// Looks again for a while, the shorter the rarer that helps, then sleeps. An idle thread uses no CPU.
  case adaptive
  /// Sleeps at once.
  case block
}

/// Decides, turn by turn of a packet thread, between looking again and sleeping. No clock is read: turns are counted.
struct WaitPolicy {
  enum Step: Hashable {
    /// Look again.
    case again
    /// Look whether the sockets still live, and again.
    case check
    case sleep
  }

  private let mode: WaitMode
  /// Turns without packets before the thread sleeps, at present.
  private(set) var patience: UInt32
  private var emptyTurns: UInt32 = 0
  private var turnsSinceCheck: UInt32 = 0
  private var hasSlept = true

  /// An empty turn takes some ten nanoseconds: the longest wait is in the order of a wake-up's cost and a quiet gap.
  static var patienceMax: UInt32 { 1 << 14 }
  static var patienceMin: UInt32 { 1 << 6 }
  /// A thread that never sleeps asks after its sockets so often: some milliseconds.
  static var turnsPerCheck: UInt32 { 1 << 18 }
  /// The same under traffic, where a turn is a batch.
  static var batchesPerCheck: UInt32 { 1 << 10 }

  init(_ mode: WaitMode) {
    self.mode = mode
    patience = mode == .block ? 0 : WaitPolicy.patienceMax
  }

  /// There was a batch.
  mutating func sawPackets() -> Step {
    // Packets that came without a sleep before them: waiting for them paid.
    if !hasSlept, mode == .adaptive { patience = min(patience &* 2, WaitPolicy.patienceMax) }
    hasSlept = false
    emptyTurns = 0
    return checked(WaitPolicy.turnsPerCheck / WaitPolicy.batchesPerCheck)
  }

  /// There was none.
  mutating func sawNothing() -> Step {
    if mode == .spin { return checked(1) }
    if emptyTurns < patience {
      emptyTurns &+= 1
      return .again
    }
    emptyTurns = 0
    hasSlept = true
    if mode == .adaptive { patience = max(patience / 2, WaitPolicy.patienceMin) }
    return .sleep
  }

  private mutating func checked(_ weight: UInt32) -> Step {
    turnsSinceCheck &+= weight
    if turnsSinceCheck < WaitPolicy.turnsPerCheck { return .again }
    turnsSinceCheck = 0
    return .check
  }
}

/// How many packets a thread takes at a time: few while there are few, so that each leaves soon; many under load, where
/// a batch shares its costs.
struct BatchSize {
  let most: UInt32
  private(set) var limit: UInt32

  static var least: UInt32 { 32 }

  init(most: UInt32) {
    self.most = max(most, BatchSize.least)
    limit = BatchSize.least
  }

  /// After a batch of `count` packets, taken with ``limit``.
  mutating func adapt(after count: UInt32) {
    if count >= limit {
      limit = min(limit &* 2, most)
    } else if count < limit / 4 {
      limit = max(limit / 2, BatchSize.least)
    }
  }
}
