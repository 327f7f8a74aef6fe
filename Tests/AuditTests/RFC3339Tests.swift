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

  @Test("What is written is read back; offsets, small letters, fractions and leap seconds are read as RFC 3339 says")
  func parsing() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<5000 {
      let milliseconds = Int64.random(in: RFC3339.range, using: &generator)
      #expect(RFC3339.unixMilliseconds(parsing: RFC3339.text(unixMilliseconds: milliseconds)) == milliseconds)
    }
    let known: [(String, Int64)] = [
      ("1970-01-01T00:00:00Z", 0), ("1970-01-01t00:00:00.5z", 500), ("1969-12-31T23:00:00-01:00", 0),
      ("1970-01-01T00:00:00.123456789012Z", 123), ("2016-12-31T23:59:60Z", 1_483_228_800_000),
      ("2024-02-29T12:00:00+05:30", 1_709_188_200_000), ("0000-01-01T00:00:00+23:59", RFC3339.range.lowerBound),
      ("9999-12-31T23:59:59-23:59", RFC3339.range.upperBound),
    ]
    for (text, milliseconds) in known { #expect(RFC3339.unixMilliseconds(parsing: text) == milliseconds, "\(text)") }
  }

  @Test(
    "What is no moment is nil",
    arguments: [
      "", "Z", "2026", "2026-11-21", "2026-11-21 00:00:00Z", "2026-11-21T00:00:00", "2026-11-21T00:00Z", "2026-13-01T00:00:00Z",
      "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-00T00:00:00Z", "2026-11-21T25:00:00Z", "2026-11-21T00:60:00Z",
      "2026-11-21T00:00:61Z", "2026-11-21T00:00:00.Z", "2026-11-21T00:00:00+24:00", "2026-11-21T00:00:00+01:60",
      "2026-11-21T00:00:00+0100", "2026-11-21T00:00:00ZZ", "+026-11-21T00:00:00Z", "20261-11-21T00:00:00Z",
      "２026-11-21T00:00:00Z", "2026-11-21T00:00:00Z\0", "2026-11-21T00:00:00." + String(repeating: "1", count: 99) + "Z",
    ])
  func noMoment(_ text: String) { #expect(RFC3339.unixMilliseconds(parsing: text) == nil) }

  @Test("What has no such year is the nearest moment that has one")
  func bounds() {
    #expect(RFC3339.text(unixMilliseconds: .max) == "9999-12-31T23:59:59.999Z")
    #expect(RFC3339.text(unixMilliseconds: .min) == "0000-01-01T00:00:00.000Z")
  }
}
