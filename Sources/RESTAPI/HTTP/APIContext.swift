import Hummingbird
import Logging
import NIOCore
import Storage
import Synchronization

/// What belongs to one request on its way through the middlewares.
public struct APIContext: RequestContext {
  public var coreContext: CoreRequestContextStorage
  /// Address of the peer without the port; "unix" or "-" where there is none.
  let remoteAddress: String
  private let channel: any Channel
  /// Set by ``RequestIDMiddleware``, the outermost one.
  var requestID = ""
  /// Set there, too.
  var traceID = ""
  /// What the access log wants to know and only the inner layers learn.
  let notes = RequestNotes()

  public init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    remoteAddress = source.channel.remoteAddress.map { $0.ipAddress.map(Self.plain) ?? "unix" } ?? "-"
    channel = source.channel
  }

  /// An IPv4 peer of a socket for both families as what it is: `::ffff:192.0.2.1` is in no prefix of IPv4.
  static func plain(_ address: String) -> String {
    let mark = "::ffff:"
    return address.hasPrefix(mark) && address.contains(".") ? String(address.dropFirst(mark.count)) : address
  }

  /// Found out for those who ask; few do.
  var connection: OwnConnection? { OwnConnection(channel) }

  public var maxUploadSize: Int { APILimits.bodyBytesMax }
}

/// Filled by inner layers, read by the access log.
final class RequestNotes: Sendable {
  struct Content {
    /// The template of the matched route.
    var route: String?
    var userID: String?
    var errorCode: String?
  }
  private let content = Mutex(Content())

  func note(route: String) { content.withLock { $0.route = route } }
  func note(userID: String) { content.withLock { $0.userID = userID } }
  func note(errorCode: String) { content.withLock { $0.errorCode = errorCode } }
  var current: Content { content.withLock { $0 } }
}

/// The API's named limits.
public enum APILimits {
  public static let bodyBytesMax = 1 << 20
  /// Of requests that bring a rule set.
  public static let ruleSetBodyBytesMax = 64 << 20
  public static let bodySecondsMax = 30
  public static let headerFieldBytesMax = 16 << 10
  public static let headerBytesMax = 32 << 10
  public static let headerFieldsMax = 100
  public static let pathBytesMax = 2048
  public static let connectionsMax = 1024
  public static let idleSeconds = 75
  /// For the open streams of an HTTP/2 connection at the end.
  public static let drainSeconds = 15
  public static let pageMax = Page.limitMax
  public static let pageDefault = 100
  public static let passwordQueueMax = 32
  public static let analysisQueueMax = 8
  public static let loginFailuresMax = 10
  public static let loginMemorySeconds = 86_400
  public static let loginRecordsMax = 20_000
  public static let rateRecordsMax = 20_000
  /// What takes longer to answer is counted and logged as slow.
  public static let slowRequestMilliseconds = 1000
}
