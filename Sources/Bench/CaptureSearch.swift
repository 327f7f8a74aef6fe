import Foundation

/// Finds the highest offered rate of which nothing is lost, on a grid of rates 5 % apart.
///
/// Pure: it says what to try and is told what became of it. A rate that loses, or that the sender does not reach, is
/// tried a second time, so that one disturbance of the machine does not decide.
struct CaptureSearch: Hashable {
  private static let step = 1.05

  private let least: Double
  /// Highest place of the grid that lost nothing; -1: none yet.
  private(set) var good = -1
  /// Lowest place that lost twice, or the end of the grid.
  private var bad: Int
  /// That place lost, rather than ended the grid.
  private var isBounded = false
  private var place: Int
  private var hasFailedHere = false
  /// How far the next step goes from a guess while all tries went one way; grows.
  private var stride: Int?
  /// The rate that was offered there in fact.
  private(set) var best: Double = 0

  /// - Parameters:
  ///   - range: Packets a second.
  ///   - guess: Where to begin, for example the last round's result.
  init(_ range: ClosedRange<Double>, guess: Double? = nil) {
    least = range.lowerBound
    func place(of rate: Double) -> Double { log(rate / range.lowerBound) / log(CaptureSearch.step) }
    let count = Int(place(of: range.upperBound)) + 1
    bad = count
    self.place = guess.map { Int(min(max(place(of: max($0, 1)), 0), Double(count - 1)).rounded()) } ?? count / 2
    stride = guess.map { _ in 1 }
  }

  /// Packets a second to offer next; nil: the search is over.
  var next: Double? { bad - good <= 1 ? nil : least * pow(CaptureSearch.step, Double(place)) }

  /// - Parameters:
  ///   - offered: The rate that the sender reached.
  ///   - lost: Packets that were sent and are not in the file.
  mutating func record(offered: Double, lost: UInt64) {
    guard let asked = next else { return }
    if lost == 0 {
      best = max(best, offered)
      let isShort = offered < asked * 0.97
      if isShort, !hasFailedHere {
        hasFailedHere = true
        return
      }
      good = place
      // More than the sender can do need not be tried.
      if isShort { bad = good + 1 }
      if isBounded { stride = nil }
      place = min(good + (stride ?? max(1, (bad - good) / 2)), bad - 1)
    } else if !hasFailedHere {
      hasFailedHere = true
      return
    } else {
      bad = place
      isBounded = true
      if good >= 0 { stride = nil }
      place = max(good + 1, stride.map { bad - $0 } ?? (good + (bad - good) / 2))
    }
    stride = stride.map { $0 * 2 }
    hasFailedHere = false
  }
}
