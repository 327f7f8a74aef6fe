/// Runs of words that are replaced by others while packets read them: handed out, taken back, and handed out again once nobody
/// reads them any more. Indices count from the begin of the half.
struct WordSpace {
  /// A run.
  struct Run: Hashable {
    var index: Int
    var wordCount: Int
  }

  /// By their length, runs that nobody reads.
  private var free: [[Int]] = Array(repeating: [], count: WordSpace.shortCount)
  /// The longer ones.
  private var long: [Run] = []
  private var retired = RetiredRuns<Run>()

  private static let shortCount = 32

  init() {}

  /// - Parameters:
  ///   - range: All of it.
  ///   - isUsed: By word.
  init(_ range: Range<Int>, isUsed: [Bool]) {
    var next = 0
    while next < isUsed.count {
      let first = next
      while next < isUsed.count, !isUsed[next] { next += 1 }
      if next > first { giveBack(Run(index: range.lowerBound + first, wordCount: next - first)) }
      next += 1
    }
  }

  /// Nil: there is no room.
  mutating func take(_ wordCount: Int) -> Int? {
    if wordCount < WordSpace.shortCount, let index = free[wordCount].popLast() { return index }
    if let place = long.lastIndex(where: { $0.wordCount >= wordCount }) {
      return cut(wordCount, from: long.remove(at: place))
    }
    for length in wordCount..<max(wordCount, WordSpace.shortCount) {
      if let index = free[length].popLast() { return cut(wordCount, from: Run(index: index, wordCount: length)) }
    }
    return nil
  }

  private mutating func cut(_ wordCount: Int, from run: Run) -> Int {
    if run.wordCount > wordCount {
      giveBack(Run(index: run.index + wordCount, wordCount: run.wordCount - wordCount))
    }
    return run.index
  }

  /// Nobody reads it.
  mutating func giveBack(_ run: Run) {
    if run.wordCount < WordSpace.shortCount { free[run.wordCount].append(run.index) } else { long.append(run) }
  }

  /// Packets under way may still read it.
  mutating func retire(_ run: Run) { retired.append(run) }

  /// Whether a grace period would give back some.
  var hasRetired: Bool { !retired.isEmpty }

  /// Whoever reads what was retired up to now is gone when it ends.
  mutating func beginGracePeriod() { retired.beginGracePeriod() }

  mutating func endGracePeriod() {
    for run in retired.endGracePeriod() { giveBack(run) }
  }
}
