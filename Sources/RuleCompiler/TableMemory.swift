/// Words of the half of a program's tables that a generation is in.
public protocol TableWords {
  /// How many words the half has; indices in a generation count from its begin.
  var wordCount: Int { get }
  /// The word at an index below ``wordCount``.
  func word(_ index: Int) -> UInt64
}

/// The half that a live generation is in: what ``GenerationEditor`` and ``SetEditor`` read and write while packets walk it.
public protocol TableMemory: TableWords {
  /// One store that a packet sees whole or not at all, behind all that were stored before it.
  func store(_ word: UInt64, at index: Int)
}

/// Runs of words that were replaced and that packets under way may still read.
struct RetiredRuns<Run> {
  private var runs: [Run] = []
  /// What was replaced before the grace period that runs began.
  private var waiting: [Run] = []

  var isEmpty: Bool { runs.isEmpty && waiting.isEmpty }

  mutating func append(_ run: Run) { runs.append(run) }

  /// Whoever reads what was retired up to now is gone when it ends.
  mutating func beginGracePeriod() {
    precondition(waiting.isEmpty, "one grace period at a time")
    swap(&waiting, &runs)
  }

  /// - Returns: What nobody reads any more.
  mutating func endGracePeriod() -> [Run] {
    var done: [Run] = []
    swap(&done, &waiting)
    return done
  }
}

/// Runs of words for records: handed out from the end of a generation on, and again once nobody reads them any more.
struct RecordSpace {
  /// By size class, word indices of runs that nobody reads.
  private var free: [[Int]] = Array(repeating: [], count: RecordSpace.classCount)
  private var retired = RetiredRuns<(sizeClass: Int, index: Int)>()
  private(set) var next: Int
  private let end: Int

  /// The smallest run: 128 bytes, the alignment that every record accepts.
  private static let unit = 16
  private static let classCount = 6

  init(from start: Int, to end: Int) {
    next = (start + RecordSpace.unit - 1) / RecordSpace.unit * RecordSpace.unit
    self.end = end
  }

  /// Nil: there is no room, or no run is so long.
  mutating func take(wordCount: Int) -> Int? {
    guard let sizeClass = RecordSpace.sizeClass(wordCount) else { return nil }
    if let index = free[sizeClass].popLast() { return index }
    let size = RecordSpace.unit << sizeClass
    guard next + size <= end else { return nil }
    defer { next += size }
    return next
  }

  /// Nobody ever saw it.
  mutating func giveBack(_ index: Int, wordCount: Int) {
    if let sizeClass = RecordSpace.sizeClass(wordCount) { free[sizeClass].append(index) }
  }

  /// Packets under way may still read it. What the builder placed lies too close to the next to be used again.
  mutating func retire(_ index: Int, wordCount: Int, own: Bool) {
    if own, let sizeClass = RecordSpace.sizeClass(wordCount) { retired.append((sizeClass, index)) }
  }

  /// A grace period begins: whoever reads what was retired up to now is gone when it ends.
  mutating func beginGracePeriod() { retired.beginGracePeriod() }

  mutating func endGracePeriod() {
    for run in retired.endGracePeriod() { free[run.sizeClass].append(run.index) }
  }

  private static func sizeClass(_ wordCount: Int) -> Int? {
    (0..<classCount).first { wordCount <= unit << $0 }
  }
}
