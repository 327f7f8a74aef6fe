import Foundation
import JSONValues

extension Date {
  /// Milliseconds since 1970: what the database stores.
  var unixMilliseconds: Int64 { Int64((timeIntervalSince1970 * 1000).rounded()) }

  init(unixMilliseconds: Int64) { self.init(timeIntervalSince1970: TimeInterval(unixMilliseconds) / 1000) }

  /// This moment as it comes back from the database.
  var wholeMilliseconds: Date { Date(unixMilliseconds: unixMilliseconds) }

  /// RFC 3339, UTC, milliseconds.
  var rfc3339: String { RFC3339.text(unixMilliseconds: unixMilliseconds) }
}
