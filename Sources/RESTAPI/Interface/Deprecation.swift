import Foundation
import HTTPTypes

/// That a route is about to go: told to every caller by `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link`, and
/// by the OpenAPI document.
public struct Deprecation: Hashable, Sendable {
  /// Since when it should not be used.
  public var since: Date
  /// When it is gone; nil while that is not decided.
  public var sunset: Date?
  /// Path of what takes its place: `/api/v2/rule-sets`.
  public var successor: String?

  public init(since: Date, sunset: Date? = nil, successor: String? = nil) {
    self.since = since
    self.sunset = sunset
    self.successor = successor
  }

  private static let field = HTTPField.Name("Deprecation")!
  private static let sunsetField = HTTPField.Name("Sunset")!

  func write(into headers: inout HTTPFields) {
    headers[Self.field] = "@\(Int64(since.timeIntervalSince1970))"
    if let sunset { headers[Self.sunsetField] = Self.httpDate(sunset) }
    if let successor { headers.append(HTTPField(name: .link, value: "<\(successor)>; rel=\"successor-version\"")) }
  }

  /// RFC 9110: `Sun, 06 Nov 1994 08:49:37 GMT`.
  static func httpDate(_ date: Date) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "GMT")
    formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
    return formatter.string(from: date)
  }
}
