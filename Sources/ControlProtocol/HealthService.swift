public import GRPCCore
import Synchronization

/// The standard health service, `grpc.health.v1.Health`. Any thread.
///
/// The empty name stands for the whole server and is SERVING from the start, as are the services named at creation.
public final class HealthService: Grpc_Health_V1_Health.SimpleServiceProtocol {
  public typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  /// Watchers at one time; one more is refused with RESOURCE_EXHAUSTED.
  public static let watchersMax = 1024

  private struct Watcher {
    var service: String
    var statuses: AsyncStream<Status>.Continuation
  }
  private struct State {
    var statuses: [String: Status] = [:]
    var watchers: [UInt64: Watcher] = [:]
    var nextWatcher: UInt64 = 0
    var isEnding = false

    mutating func set(_ status: Status, for service: String) {
      guard statuses.updateValue(status, forKey: service) != status else { return }
      for watcher in watchers.values where watcher.service == service { watcher.statuses.yield(status) }
    }
  }
  private let state: Mutex<State>

  public init(services: [String] = []) {
    var initial = State()
    for service in services + [""] { initial.statuses[service] = .serving }
    state = Mutex(initial)
  }

  /// What this service answers from now on. Without effect after ``beginShutdown()``.
  public func set(_ status: Status, for service: String) {
    state.withLock { state in
      if !state.isEnding { state.set(status, for: service) }
    }
  }

  /// Says NOT_SERVING for everything, for good, so that clients go elsewhere while the server drains.
  public func beginShutdown() {
    state.withLock { state in
      state.isEnding = true
      for service in state.statuses.keys { state.set(.notServing, for: service) }
    }
  }

  public func check(
    request: Grpc_Health_V1_HealthCheckRequest, context: ServerContext
  ) async throws -> Grpc_Health_V1_HealthCheckResponse {
    guard let status = state.withLock({ $0.statuses[request.service] }) else {
      throw RPCError(code: .notFound, message: "no service of this name is known; List names them")
    }
    return .with { $0.status = status }
  }

  public func list(
    request: Grpc_Health_V1_HealthListRequest, context: ServerContext
  ) async throws -> Grpc_Health_V1_HealthListResponse {
    let statuses = state.withLock { $0.statuses }
    return .with { $0.statuses = statuses.mapValues { status in .with { $0.status = status } } }
  }

  public func watch(
    request: Grpc_Health_V1_HealthCheckRequest, response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>,
    context: ServerContext
  ) async throws {
    // Only the newest status matters to a watcher that reads slowly.
    let (statuses, continuation) = AsyncStream<Status>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let watcher = try state.withLock { state in
      guard state.watchers.count < Self.watchersMax else {
        throw RPCError(code: .resourceExhausted, message: "\(Self.watchersMax) watchers are the most at one time")
      }
      let number = state.nextWatcher
      state.nextWatcher += 1
      state.watchers[number] = Watcher(service: request.service, statuses: continuation)
      continuation.yield(state.statuses[request.service] ?? .serviceUnknown)
      return number
    }
    defer { state.withLock { _ = $0.watchers.removeValue(forKey: watcher) } }
    // A handler's task isn't cancelled when its client leaves or the server drains (grpc-swift-2 2.4): end the stream.
    try await withRPCCancellationHandler {
      for await status in statuses { try await response.write(.with { $0.status = status }) }
    } onCancelRPC: {
      continuation.finish()
    }
  }

  /// Watchers now.
  var watcherCount: Int { state.withLock { $0.watchers.count } }
}
