import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// gzip for whom it helps. Answers of the sign-in routes stay as they are: what is compressed together with a secret
/// tells its length (BREACH).
struct CompressionMiddleware: RouterMiddleware {
  /// Smaller answers fit into one packet anyway.
  static let byteCountMin = 1400

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    var response = try await next(request, context)
    guard let length = response.body.contentLength, length >= Self.byteCountMin,
      response.headers[.contentEncoding] == nil, !request.uri.path.hasPrefix(RouteTable.base + "/auth/")
    else { return response }
    response.headers.addToVary("Accept-Encoding")
    guard Self.accepts(request.headers[.acceptEncoding] ?? "") else { return response }
    let collector = CollectingWriter()
    try await response.body.write(collector)
    let whole = collector.bytes
    if let smaller = Gzip.compressed(whole) {
      response.headers[.contentEncoding] = "gzip"
      response.body = ResponseBody(byteBuffer: .init(bytes: smaller))
    } else {
      response.body = ResponseBody(byteBuffer: .init(bytes: whole))
    }
    return response
  }

  /// `gzip` or `*` in Accept-Encoding, unless with the weight 0.
  static func accepts(_ header: String) -> Bool {
    for part in header.lowercased().split(separator: ",") {
      let words = part.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" } }
      guard let coding = words.first, coding == "gzip" || coding == "*" else { continue }
      let weight = words.dropFirst().first { $0.hasPrefix("q=") }.flatMap { Double($0.dropFirst(2)) } ?? 1
      return weight > 0
    }
    return false
  }
}

/// Puts a body together again.
private final class CollectingWriter: ResponseBodyWriter, Sendable {
  private let content = Mutex<[UInt8]>([])
  var bytes: [UInt8] { content.withLock { $0 } }

  func write(_ buffer: ByteBuffer) async throws { content.withLock { $0.append(contentsOf: buffer.readableBytesView) } }
  consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
