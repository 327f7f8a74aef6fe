/// Moments as JSON has them.
public enum RFC3339 {
  /// What it can write: the years 0000 to 9999.
  public static let range: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999

  /// UTC with milliseconds, `2026-11-21T15:38:47.961Z`; years from 0000 to 9999, what lies beyond is the nearest of them.
  ///
  /// By hand, since every answer and record has some: Foundation's style takes ten times as long.
  public static func text(unixMilliseconds: Int64) -> String {
    let bounded = min(max(unixMilliseconds, range.lowerBound), range.upperBound)
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

  /// Milliseconds since 1970 of `2026-11-21T16:38:47.961+01:00`, what lies beyond ``range`` by its offset at its end; nil
  /// where it is no moment of RFC 3339. A leap second is the second behind it. Digits behind the third are cut off.
  public static func unixMilliseconds(parsing text: String) -> Int64? {
    var reader = DigitReader(Array(text.utf8.prefix(65)))
    guard reader.bytes.count <= 64, let year = reader.number(4), reader.take("-"), let month = reader.number(2),
      reader.take("-"), let day = reader.number(2), reader.take("T", or: "t"), let hour = reader.number(2),
      reader.take(":"), let minute = reader.number(2), reader.take(":"), let second = reader.number(2)
    else { return nil }
    var milliseconds: Int64 = 0
    if reader.take(".") {
      guard let fraction = reader.fraction() else { return nil }
      milliseconds = fraction
    }
    var offset: Int64 = 0
    if !reader.take("Z", or: "z") {
      let isWest = reader.take("-")
      guard isWest || reader.take("+"), let hours = reader.number(2), reader.take(":"), let minutes = reader.number(2),
        hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 60 + minutes) * (isWest ? -60 : 60)
    }
    guard reader.isAtEnd, (1...12).contains(month), hour < 24, minute < 60, second <= 60 else { return nil }
    let days = days(year: year, month: month, day: day)
    // A day that the month doesn't have is one of the next month.
    guard day >= 1, civil(days: days) == (year, month, day) else { return nil }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset
    return min(max(seconds * 1000 + milliseconds, range.lowerBound), range.upperBound)
  }

  /// The other way round than ``civil(days:)``.
  private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
    let yearFromMarch = month > 2 ? year : year - 1
    let (era, ofEra) = yearFromMarch.quotientAndRemainder(flooringBy: 400)
    let ofYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + ofEra * 365 + ofEra / 4 - ofEra / 100 + ofYear - 719_468
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

private struct DigitReader {
  let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position == bytes.count }

  mutating func take(_ mark: Character, or other: Character? = nil) -> Bool {
    guard !isAtEnd, bytes[position] == mark.asciiValue || bytes[position] == other?.asciiValue else { return false }
    position += 1
    return true
  }

  mutating func number(_ digitCount: Int) -> Int64? {
    guard bytes.count - position >= digitCount else { return nil }
    var value: Int64 = 0
    for _ in 0..<digitCount {
      guard let digit = digit() else { return nil }
      value = value * 10 + digit
    }
    return value
  }

  /// Of a second, in milliseconds.
  mutating func fraction() -> Int64? {
    guard let first = digit() else { return nil }
    var (value, weight) = (first * 100, Int64(10))
    while let digit = digit() { (value, weight) = (value + digit * weight, weight / 10) }
    return value
  }

  private mutating func digit() -> Int64? {
    guard !isAtEnd, (0x30...0x39).contains(bytes[position]) else { return nil }
    position += 1
    return Int64(bytes[position - 1] - 0x30)
  }
}
