import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Telemetry

/// `/metrics`, `/healthz` and `/readyz` over plain HTTP, meant for loopback: there is no authentication.
public struct ObservabilityServer: Service {
  private let application: any ApplicationProtocol

  /// - Parameter health: Liveness checks answer `/healthz`, readiness checks `/readyz`: 200, or 503 with the reasons.
  public init(host: String, port: Int, registry: PrometheusRegistry, health: HealthRegistry, logger: Logger) {
    let router = Router()
    router.get("metrics") { _, _ in
      Response(
        status: .ok, headers: [.contentType: Exposition.contentType],
        body: .init(byteBuffer: ByteBuffer(bytes: await registry.render())))
    }
    for (path, kind) in [("healthz", HealthRegistry.Kind.liveness), ("readyz", .readiness)] {
      router.get(RouterPath(path)) { _, _ in
        let report = await health.report(kind)
        return Response(
          status: .init(code: report.httpStatus), headers: [.contentType: "application/json"],
          body: .init(byteBuffer: ByteBuffer(bytes: report.json)))
      }
    }
    application = Application(
      router: router, configuration: .init(address: .hostname(host, port: port), serverName: "sluiced"),
      logger: logger)
  }

  public func run() async throws { try await application.run() }
}
