/// Moments as JSON has them.
public enum RFC3339 {
  /// UTC with milliseconds, `2026-11-21T15:38:47.961Z`; years from 0000 to 9999, what lies beyond is the nearest of them.
  ///
  /// By hand, since every answer and record has some: Foundation's style takes ten times as long.
  public static func text(unixMilliseconds: Int64) -> String {
    let bounded = min(max(unixMilliseconds, -62_167_219_200_000), 253_402_300_799_999)
    let (days, ofDay) = bounded.quotientAndRemainder(flooringBy: 86_400_000)
    let date = civil(days: days)
    var digits: [UInt8] = []
    digits.reserveCapacity(24)
    func write(_ value: Int64, _ width: Int, _ after: Character) {
      var divisor: Int64 = 1
      for _ in 1..<width { divisor *= 10 }
      while divisor > 0 {
        digits.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
        divisor /= 10
      }
      digits.append(after.asciiValue ?? 0)
    }
    write(date.year, 4, "-")
    write(date.month, 2, "-")
    write(date.day, 2, "T")
    write(ofDay / 3_600_000, 2, ":")
    write(ofDay / 60_000 % 60, 2, ":")
    write(ofDay / 1000 % 60, 2, ".")
    write(ofDay % 1000, 3, "Z")
    return String(decoding: digits, as: UTF8.self)
  }

  /// Days since 1970 in the Gregorian calendar, reckoned in years that begin in March: their leap day is the last.
  private static func civil(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let (era, ofEra) = (days + 719_468).quotientAndRemainder(flooringBy: 146_097)
    let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let fromMarch = (5 * ofYear + 2) / 153
    let month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, ofYear - (153 * fromMarch + 2) / 5 + 1)
  }
}

extension Int64 {
  /// The remainder is never negative.
  fileprivate func quotientAndRemainder(flooringBy divisor: Int64) -> (Int64, Int64) {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
  }
}
