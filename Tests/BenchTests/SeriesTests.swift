import Testing

@testable import Bench

@Suite("Numbers of several rounds")
struct SeriesTests {
  @Test("The median is the middle, or between the two middles; nothing of nothing")
  func median() {
    #expect(Series([3, 1, 2]).median == 2)
    #expect(Series([4, 1, 3, 2]).median == 2.5)
    #expect(Series([7]).median == 7)
    #expect(Series().median == nil)
    #expect(Series([3, 1, 2]).least == 1)
    #expect(Series([3, 1, 2]).greatest == 3)
  }

  @Test("A ratio is the median of the rounds' ratios, not the ratio of the medians")
  func ratio() {
    #expect(Series([1, 20, 3]).ratio(to: Series([1, 2, 6])) == 1)
    #expect(Series([10, 20]).ratio(to: Series([0, 2])) == 10)
    #expect(Series([10]).ratio(to: Series([0])) == nil)
    #expect(Series([10, 12, 14]).ratio(to: Series([5])) == 2)
  }

  @Test("A goal's order of limit and aim says whether more or less is better")
  func goals() {
    let more = Goal(.value, limit: 4, aim: 5)
    #expect(!more.prefersLess)
    #expect([3.9, 4, 4.9, 5].map { more.verdict($0) } == [.missed, .met, .met, .aimed])
    let less = Goal(.value, limit: 1, aim: 0.8)
    #expect(less.prefersLess)
    #expect([1.1, 1, 0.9, 0.8].map { less.verdict($0) } == [.missed, .met, .met, .aimed])
  }
}
