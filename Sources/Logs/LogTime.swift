import Glibc

/// A moment, as logs write it: UTC, RFC 3339.
public struct LogTime: Hashable, Sendable {
  /// Since 1970-01-01 00:00 UTC.
  public let seconds: Int64
  public let microseconds: Int

  public init(seconds: Int64, microseconds: Int) {
    self.seconds = seconds
    self.microseconds = microseconds
  }

  public static func now() -> LogTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return LogTime(seconds: Int64(time.tv_sec), microseconds: Int(time.tv_nsec) / 1000)
  }

  /// `2026-11-21T03:04:05.678901Z`, or with milliseconds.
  public func text(fractionDigits: Int = 6) -> String {
    let days = seconds / 86_400 - (seconds % 86_400 < 0 ? 1 : 0)
    let second = seconds - days * 86_400
    let (year, month, day) = Self.date(days)
    let fraction = pad(Int64(microseconds), 6).prefix(fractionDigits)
    return pad(year, 4) + "-" + pad(month, 2) + "-" + pad(day, 2) + "T" + pad(second / 3600, 2) + ":"
      + pad(second / 60 % 60, 2) + ":" + pad(second % 60, 2) + "." + fraction + "Z"
  }

  private func pad(_ number: Int64, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }

  /// The Gregorian date of a day counted from 1970-01-01, by years that begin in March, so that a leap day ends one.
  private static func date(_ day: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = day + 719_468  // from 0000-03-01
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
  }
}
