/// How the API meets those who call it.
public struct InterfaceSettings: Sendable {
  /// A change of what has an `ETag` must say by `If-Match` what it changes: 428 where it does not.
  public var requiresIfMatch: Bool
  /// Origins whose pages may read answers, as browsers write them: `https://console.example.org`. None: no page may.
  public var corsOrigins: Set<String>
  /// Names in `Host` that are answered, without port, lower case; `*.example.org` for all below. Empty: all.
  public var trustedHosts: Set<String>
  /// Of one address (of IPv6, one /64); nil: unlimited.
  public var addressRate: Rate?
  /// Of one token; nil: unlimited.
  public var tokenRate: Rate?
  /// Of one address, on routes that cost much.
  public var routeRates: [String: Rate]
  /// Whether the server itself speaks TLS.
  public var isTLS: Bool
  /// Bytes of a body of lines, as sets are imported, at most.
  public var importBytesMax: Int

  public static let importBytesMaxDefault = 256 << 20

  public init(
    requiresIfMatch: Bool = false, corsOrigins: Set<String> = [], trustedHosts: Set<String> = [],
    addressRate: Rate? = nil, tokenRate: Rate? = nil, routeRates: [String: Rate] = [:], isTLS: Bool = false,
    importBytesMax: Int = importBytesMaxDefault
  ) {
    self.requiresIfMatch = requiresIfMatch
    self.corsOrigins = corsOrigins
    self.trustedHosts = trustedHosts
    self.addressRate = addressRate
    self.tokenRate = tokenRate
    self.routeRates = routeRates
    self.isTLS = isTLS
    self.importBytesMax = importBytesMax
  }

  /// Routes that hash a password, compile rules, start a thread, read a million counters or call somebody else, by operation.
  public static let costlyRoutes: [String: Rate] = [
    "login": Rate(perSecond: 10), "refresh": Rate(perSecond: 20), "changePassword": Rate(perSecond: 5),
    "loginSecondFactor": Rate(perSecond: 10), "resetPassword": Rate(perSecond: 5),
    "beginSecondFactor": Rate(perSecond: 5),
    "applyRuleSet": Rate(perSecond: 20), "startCapture": Rate(perSecond: 10), "streamCapture": Rate(perSecond: 10),
    "testWebhook": Rate(perSecond: 5), "topElements": Rate(perSecond: 2),
  ]
}

/// So many requests a second; after a pause, up to two seconds' worth at once.
public struct Rate: Hashable, Sendable {
  public var perSecond: Double
  public var burst: Double

  public init(perSecond: Double) {
    precondition(perSecond > 0, "a rate is positive")
    self.perSecond = perSecond
    burst = max(1, perSecond * 2)
  }
}
