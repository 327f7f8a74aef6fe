import Foundation
import Hummingbird

/// All routes of the API.
public struct RouteTable: Sendable {
  public let routes: [Route]

  /// - Parameter routes: no two with the same method and path, no two with the same operation.
  init(routes: [Route]) {
    let keys = Set(routes.map { "\($0.method.rawValue) \($0.path)" })
    precondition(keys.count == routes.count, "a route stands twice in the table")
    precondition(Set(routes.map(\.operation)).count == routes.count, "two routes have one operation id")
    self.routes = routes
  }

  /// The API of this version.
  public static let v1 = RouteTable(
    routes: SystemRoutes.all + AuthRoutes.all + SecondFactorRoutes.all + SessionRoutes.all
      + UserRoutes.all + PasswordResetRoutes.all + RoleRoutes.all + TeamRoutes.all + ResourceRoutes.all
      + ClientRoutes.all + NodeRoutes.all
      + AttachmentRoutes.all + RuleSetRoutes.all + SetCounterRoutes.all + RuleRoutes.all + SetRoutes.all
      + ChainRoutes.all + AnalysisRoutes.all + ApplyRoutes.all
      + TrialRoutes.all
      + RevisionRoutes.all + ApprovalRoutes.all + CaptureRoutes.all + WireRoutes.all + EventRoutes.all
      + WebhookRoutes.all + AuditRoutes.all)

  /// The prefix of everything but the probes.
  static let base = "/api/v1"

  static let probes: Set = ["/healthz", "/readyz", "/metrics"]

  /// The methods that a path answers to; empty for a path that doesn't exist. Only asked where no route matched.
  func methods(for path: String) -> [HTTPRequest.Method] {
    let segments = path.dropFirst().split(separator: "/", omittingEmptySubsequences: true)
    let matching = routes.filter { route in
      route.segments.count == segments.count
        && zip(route.segments, segments).allSatisfy { $0.hasPrefix("{") || $0 == $1 }
    }
    // As the router does: a literal segment goes before a parameter, and where it leads nothing else does.
    let fewest = matching.map(\.pathParameters.count).min()
    return matching.filter { $0.pathParameters.count == fewest }
      .flatMap { $0.method == .get ? [.get, .head] : [$0.method] }
  }

  /// The router that serves exactly this table.
  func router(services: Services) -> Router<APIContext> {
    let router = Router(context: APIContext.self, options: .autoGenerateHeadEndpoints)
    router.add(middleware: RequestIDMiddleware())
    router.add(middleware: ObservationMiddleware(logger: services.logger, metrics: services.metrics))
    let interface = services.settings.interface
    router.add(middleware: SecurityHeadersMiddleware(isTLS: interface.isTLS))
    router.add(middleware: CORSMiddleware(origins: interface.corsOrigins))
    router.add(middleware: CompressionMiddleware())
    router.add(
      middleware: ErrorMiddleware(
        table: self, logger: services.logger, showsInternals: services.settings.showsInternals))
    router.add(middleware: TrustedHostsMiddleware(hosts: interface.trustedHosts))
    router.add(
      middleware: RateLimitMiddleware(limiter: services.limiter, settings: interface, metrics: services.metrics))
    for route in routes {
      let endpoint = Endpoint(route: route, services: services)
      router.on(route.routerPath, method: route.method) { request, context in
        try await endpoint.respond(to: request, context: context)
      }
    }
    return router
  }
}
