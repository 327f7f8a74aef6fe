import Crypto
import Hummingbird
import Packets
import Synchronization

/// Token buckets by address, token and route. In memory and per process.
///
/// The number of buckets is bounded: when it is reached, full ones go first (they say nothing), then the half that was
/// used longest ago.
final class RateLimiter: Sendable {
  enum Key: Hashable {
    case address(String)
    /// Never the token itself: a digest.
    case token([UInt8])
    case route(String, address: String)
  }
  private struct Bucket {
    var requests: Double
    var at: ContinuousClock.Instant
    let rate: Rate

    func filled(at now: ContinuousClock.Instant) -> Double {
      min(rate.burst, requests + (now - at).inSeconds * rate.perSecond)
    }
  }
  private let buckets = Mutex<[Key: Bucket]>([:])
  private let bucketsMax: Int

  init(bucketsMax: Int = APILimits.rateRecordsMax) {
    precondition(bucketsMax > 1, "a limiter remembers somebody")
    self.bucketsMax = bucketsMax
  }

  /// How long the caller has to wait; nil: it is admitted, and counted.
  func wait(_ key: Key, _ rate: Rate, now: ContinuousClock.Instant = .now) -> Duration? {
    buckets.withLock { buckets in
      if buckets[key] == nil, buckets.count >= bucketsMax { Self.makeRoom(in: &buckets, now) }
      var bucket = buckets[key] ?? Bucket(requests: rate.burst, at: now, rate: rate)
      bucket.requests = bucket.filled(at: now)
      bucket.at = now
      defer { buckets[key] = bucket }
      guard bucket.requests >= 1 else { return .seconds((1 - bucket.requests) / rate.perSecond) }
      bucket.requests -= 1
      return nil
    }
  }

  var bucketCount: Int { buckets.withLock { $0.count } }

  private static func makeRoom(in buckets: inout [Key: Bucket], _ now: ContinuousClock.Instant) {
    let limit = buckets.count
    buckets = buckets.filter { $0.value.filled(at: now) < $0.value.rate.burst }
    guard buckets.count > limit / 2 else { return }
    for (key, _) in buckets.sorted(by: { $0.value.at < $1.value.at }).prefix(limit / 2) { buckets[key] = nil }
  }

  /// One customer has a whole /64 of IPv6.
  static func network(of address: String) -> String {
    guard address.contains(":"), let parsed = IPAddress(String(address.prefix { $0 != "%" })) else { return address }
    return IPPrefix(parsed, length: 64).description
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

/// Sends away who asks too often, before anything is looked up for him. Probes are always answered.
struct RateLimitMiddleware: RouterMiddleware {
  let limiter: RateLimiter
  let settings: InterfaceSettings
  let metrics: APIMetrics

  func handle(
    _ request: Request, context: APIContext, next: (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    if !RouteTable.probes.contains(request.uri.path) {
      let address = context.remoteAddress
      if let rate = settings.addressRate, address.contains(where: { $0 == "." || $0 == ":" }) {
        try check(.address(RateLimiter.network(of: address)), rate, "address")
      }
      if let rate = settings.tokenRate, let header = request.headers[.authorization] {
        // Behind the scheme, which is the same however it is spelt.
        let token = header.split(separator: " ", maxSplits: 1).last ?? ""
        try check(.token(Array(SHA256.hash(data: Array(token.utf8)))), rate, "token")
      }
    }
    return try await next(request, context)
  }

  private func check(_ key: RateLimiter.Key, _ rate: Rate, _ kind: String) throws {
    guard let wait = limiter.wait(key, rate) else { return }
    metrics.rateLimited(kind)
    throw APIError.tooFast(kind, wait)
  }
}

extension APIError {
  static func tooFast(_ kind: String, _ wait: Duration) -> APIError {
    APIError(.tooManyRequests, "too many requests of this \(kind)", details: ["limit": .string(kind)])
      .retry(afterSeconds: Int(wait.inSeconds.rounded(.up)))
  }
}
