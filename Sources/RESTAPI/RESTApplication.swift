import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
import HummingbirdTLS
import Logging
import NIOCore

/// The HTTP server of the API.
public enum RESTApplication {
  /// - Parameters:
  ///   - services: what the routes work with; run ``Services/nodes`` beside the application.
  ///   - address: where to listen.
  ///   - certificates: nil: without TLS.
  ///   - offersHTTP2: to clients that speak TLS; HTTP/1.1 is always spoken.
  ///   - onServerRunning: called once the socket listens.
  public static func make(
    services: Services, address: BindAddress, certificates: TLSCertificates? = nil, offersHTTP2: Bool = true,
    logger: Logger,
    onServerRunning: @escaping @Sendable (any Channel) async -> Void = { _ in }
  ) throws -> some ApplicationProtocol {
    let http = HTTP1Channel.Configuration(
      idleTimeout: .seconds(Int64(APILimits.idleSeconds)),
      httpDecoderConfiguration: .init(
        maxHeaderFieldSize: APILimits.headerFieldBytesMax, maxHeaderListSize: APILimits.headerBytesMax,
        maxHeaderFieldCount: APILimits.headerFieldsMax))
    // Hummingbird adds a line of its own per connection at lower levels; requests are logged by the middleware.
    var frameworkLogger = logger
    frameworkLogger.logLevel = max(logger.logLevel, .warning)
    return Application(
      router: RouteTable.v1.router(services: services), server: try server(http, certificates, offersHTTP2),
      configuration: ApplicationConfiguration(
        address: address, serverName: nil,
        availableConnectionsDelegate: MaximumAvailableConnections(APILimits.connectionsMax)),
      onServerRunning: onServerRunning, logger: frameworkLogger)
  }

  private static func server(
    _ http: HTTP1Channel.Configuration, _ certificates: TLSCertificates?, _ offersHTTP2: Bool
  ) throws -> HTTPServerBuilder {
    guard let certificates else { return .http1(configuration: http) }
    let tls = certificates.configuration()
    guard offersHTTP2 else { return try .tls(.http1(configuration: http), tlsConfiguration: tls) }
    return try .http2Upgrade(
      tlsConfiguration: tls,
      configuration: .init(
        idleTimeout: .seconds(APILimits.idleSeconds), gracefulCloseTimeout: .seconds(APILimits.drainSeconds),
        streamConfiguration: http))
  }
}
