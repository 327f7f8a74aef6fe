import Testing

@testable import Bench

@Suite("Search for the highest rate without loss")
struct CaptureSearchTests {
  /// Runs a search against a program that loses above `limit`; gives what it found and how often it asked.
  private func search(limit: Double, guess: Double? = nil, senderLimit: Double = .infinity) -> (Double, Int) {
    var search = CaptureSearch(100...10_000, guess: guess)
    var trials = 0
    while let rate = search.next {
      trials += 1
      let offered = min(rate, senderLimit)
      search.record(offered: offered, lost: offered > limit ? 1 : 0)
      if trials > 100 { break }
    }
    return (search.best, trials)
  }

  @Test(
    "It finds the limit to one step of the grid, with and without a guess",
    arguments: [nil, 100, 950, 1000, 1500, 1e9])
  func findsLimit(guess: Double?) {
    for limit in [101.0, 333, 1000, 4242, 9000] {
      let (found, trials) = search(limit: limit, guess: guess)
      #expect(found <= limit && found > limit / 1.0501, "limit \(limit), guess \(guess ?? 0)")
      #expect(trials <= 24)
    }
  }

  @Test("A good guess takes few trials")
  func guessIsCheap() { #expect(search(limit: 1000, guess: 1000).1 <= 5) }

  @Test("One disturbance does not decide; two at one rate do")
  func toleratesOneDisturbance() {
    var search = CaptureSearch(100...10_000)
    let first = search.next
    search.record(offered: first ?? 0, lost: 5)
    #expect(search.next == first)
    search.record(offered: first ?? 0, lost: 0)
    #expect(search.best == first)
    let second = search.next ?? 0
    search.record(offered: second, lost: 1)
    search.record(offered: second, lost: 1)
    #expect((search.next ?? .infinity) < second)
  }

  @Test("A sender that is slow once does not end the search; twice at one rate does")
  func toleratesSlowSender() {
    var search = CaptureSearch(100...10_000)
    let first = search.next ?? 0
    search.record(offered: first / 2, lost: 0)
    #expect(search.next == first)
    search.record(offered: first, lost: 0)
    let second = search.next ?? 0
    #expect(second > first)
    search.record(offered: first, lost: 0)
    search.record(offered: first, lost: 0)
    #expect(search.next == nil && search.best == first)
  }

  @Test("Where everything is lost, nothing is found")
  func everythingIsLost() { #expect(search(limit: 0).0 == 0) }

  @Test("It does not ask for more than the sender reaches")
  func stopsAtSender() {
    let (found, trials) = search(limit: .infinity, senderLimit: 2000)
    #expect(found == 2000)
    #expect(trials < 12)
  }
}
