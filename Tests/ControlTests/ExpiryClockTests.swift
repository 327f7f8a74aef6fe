import Testing

@testable import Control

@Suite("What time it is for rules that end")
struct ExpiryClockTests {
  private let start = ContinuousClock.now
  private var clock: ExpiryClock { ExpiryClock(wallMilliseconds: 1_000_000, instant: start) }

  @Test("The wall clock and the clock that nobody sets go together")
  func together() {
    #expect(clock.now(wallMilliseconds: 1_000_000, instant: start) == 1_000_000)
    #expect(clock.now(wallMilliseconds: 1_005_000, instant: start + .seconds(5)) == 1_005_000)
  }

  @Test("A wall clock that is set forward is believed: the moment has come")
  func forward() {
    #expect(clock.now(wallMilliseconds: 9_000_000, instant: start + .seconds(1)) == 9_000_000)
  }

  @Test("A wall clock that is set back makes no rule live longer than it was given", arguments: [0, 999_999, -5_000_000])
  func back(_ wall: Int64) {
    #expect(clock.now(wallMilliseconds: wall, instant: start + .seconds(60)) == 1_060_000)
    #expect(clock.now(wallMilliseconds: wall, instant: start + .milliseconds(60_001)) == 1_060_001)
  }

  @Test("A clock that was set back is noticed, its own drift is not")
  func ahead() {
    #expect(!clock.isAhead(wallMilliseconds: 1_059_500, instant: start + .seconds(60)))
    #expect(!clock.isAhead(wallMilliseconds: 9_000_000, instant: start))
    #expect(clock.isAhead(wallMilliseconds: 1_050_000, instant: start + .seconds(60)))
  }

  @Test("However far away a rule's end, somebody looks at the wall clock every second; what is overdue waits for nothing")
  func looks() {
    let now = ExpiryClock()
    #expect(now.pause(until: .max) == .milliseconds(ExpiryClock.lookMilliseconds))
    #expect(now.pause(until: 0) == .zero && now.pause(until: .min) == .zero)
  }
}
