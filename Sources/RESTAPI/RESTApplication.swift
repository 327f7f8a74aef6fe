import Hummingbird
import HummingbirdCore
import Logging
import NIOCore

/// The HTTP server of the API.
public enum RESTApplication {
  /// - Parameters:
  ///   - services: what the routes work with; run ``Services/nodes`` beside the application.
  ///   - address: where to listen.
  ///   - onServerRunning: called once the socket listens.
  public static func make(
    services: Services, address: BindAddress, logger: Logger,
    onServerRunning: @escaping @Sendable (any Channel) async -> Void = { _ in }
  ) -> some ApplicationProtocol {
    let http = HTTP1Channel.Configuration(
      idleTimeout: .seconds(Int64(APILimits.idleSeconds)),
      httpDecoderConfiguration: .init(
        maxHeaderFieldSize: APILimits.headerFieldBytesMax, maxHeaderListSize: APILimits.headerBytesMax,
        maxHeaderFieldCount: APILimits.headerFieldsMax))
    // Hummingbird adds a line of its own per connection at lower levels; requests are logged by the middleware.
    var frameworkLogger = logger
    frameworkLogger.logLevel = max(logger.logLevel, .warning)
    return Application(
      router: RouteTable.v1.router(services: services), server: .http1(configuration: http),
      configuration: ApplicationConfiguration(
        address: address, serverName: nil,
        availableConnectionsDelegate: MaximumAvailableConnections(APILimits.connectionsMax)),
      onServerRunning: onServerRunning, logger: frameworkLogger)
  }
}
