/// What a packet thread does while there are no packets.
public enum WaitMode: String, Hashable, Sendable, CaseIterable {
  /// Looks again, without end: the lowest latency, and a whole CPU.
  case spin
  /// Looks again for a while, the shorter the rarer that helps, then sleeps. An idle thread uses no CPU. A queue that
  /// is only captured looks every 100 microseconds: the CPU is its writers' meanwhile.
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
    /// Look again after ``WaitPolicy/dozeNanoseconds``.
    case doze
    case sleep
  }

  private let mode: WaitMode
  private let dozes: Bool
  private let patienceLeast: UInt32
  private let patienceMost: UInt32
  /// Turns without packets before the thread sleeps, at present.
  private(set) var patience: UInt32
  private var emptyTurns: UInt32 = 0
  private var turnsSinceCheck: UInt32 = 0
  private var hasSlept = true

  /// An empty turn takes some hundred nanoseconds: the longest wait is in the order of a wake-up's cost and a quiet gap.
  static var patienceMax: UInt32 { 1 << 11 }
  static var patienceMin: UInt32 { 1 << 3 }
  /// The same where a turn is a doze.
  static var dozesMax: UInt32 { 1 << 5 }
  static var dozesMin: UInt32 { 1 }
  /// What comes meanwhile is little for a ring of thousands: 400 packets of 4 million a second.
  static var dozeNanoseconds: UInt64 { 100_000 }
  /// A thread that never sleeps asks after its sockets so often: some milliseconds.
  static var turnsPerCheck: UInt32 { 1 << 16 }
  /// The same under traffic, where a turn is a batch.
  static var batchesPerCheck: UInt32 { 1 << 10 }

  /// - Parameter dozes: Between looks an adaptive thread leaves its CPU to others, rather than to look without end.
  init(_ mode: WaitMode, dozes: Bool = false) {
    self.mode = mode
    self.dozes = dozes && mode == .adaptive
    patienceLeast = self.dozes ? WaitPolicy.dozesMin : WaitPolicy.patienceMin
    patienceMost = self.dozes ? WaitPolicy.dozesMax : WaitPolicy.patienceMax
    patience = mode == .block ? 0 : patienceMost
  }

  /// There was a batch.
  mutating func sawPackets() -> Step {
    // Packets that came without a sleep before them: waiting for them paid.
    if !hasSlept, mode == .adaptive { patience = min(patience &* 2, patienceMost) }
    hasSlept = false
    emptyTurns = 0
    return checked(WaitPolicy.turnsPerCheck / WaitPolicy.batchesPerCheck)
  }

  /// There was none.
  mutating func sawNothing() -> Step {
    if mode == .spin { return checked(1) }
    if emptyTurns < patience {
      emptyTurns &+= 1
      return dozes ? .doze : .again
    }
    emptyTurns = 0
    hasSlept = true
    if mode == .adaptive { patience = max(patience / 2, patienceLeast) }
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
