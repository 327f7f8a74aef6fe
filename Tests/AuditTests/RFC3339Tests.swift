import Foundation
import JSONValues
import Testing

@Suite struct RFC3339Tests {
  @Test("Moments are written as Foundation writes them, in every year")
  func likeFoundation() {
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    var generator = SystemRandomNumberGenerator()
    let random = (0..<5000).map { _ in Int64.random(in: -62_135_596_800_000...253_402_300_799_999, using: &generator) }
    // The ends of years, also of leap years and centuries.
    let edges = [1583, 1600, 1700, 1900, 1969, 1970, 2000, 2024, 2026, 2100, 9999].flatMap { year -> [Int64] in
      let start = Int64((try? Date("\(year)-01-01T00:00:00Z", strategy: .iso8601))?.timeIntervalSince1970 ?? 0) * 1000
      return [-1, 0, 58 * 86_400_000, 59 * 86_400_000, 60 * 86_400_000].map { start + $0 }
    }
    for milliseconds in random.filter({ $0 >= -12_212_553_600_000 }) + edges where milliseconds <= 253_402_300_799_999 {
      // A quarter of a millisecond more, so that the double rounds down to it.
      let date = Date(timeIntervalSince1970: (Double(milliseconds) + 0.25) / 1000)
      #expect(RFC3339.text(unixMilliseconds: milliseconds) == date.formatted(style), "\(milliseconds)")
    }
  }

  @Test("What has no such year is the nearest moment that has one")
  func bounds() {
    #expect(RFC3339.text(unixMilliseconds: .max) == "9999-12-31T23:59:59.999Z")
    #expect(RFC3339.text(unixMilliseconds: .min) == "0000-01-01T00:00:00.000Z")
  }
}
