import ControlProtocol
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import ServiceLifecycle
import Storage
import Synchronization

/// The daemons that this API talks to: one kept gRPC connection per address.
///
/// Run it as a service; when that ends, calls in flight are finished and the connections closed.
public final class NodeClients: Service {
  typealias Transport = HTTP2ClientTransport.Posix

  private struct Connection {
    let client: GRPCClient<Transport>
    let running: Task<Void, Never>
  }
  private struct State {
    var connections: [ControlAddress: Connection] = [:]
    var isEnding = false
  }
  private let state = Mutex(State())
  private let metrics: APIMetrics

  /// Connections kept; a further address takes the place of another.
  static let connectionsMax = 256

  init(metrics: APIMetrics) { self.metrics = metrics }

  public func run() async throws {
    try? await gracefulShutdown()
    await close()
  }

  /// Ends all connections after their calls. Later calls fail as unavailable.
  public func close() async {
    let connections = state.withLock { state in
      state.isEnding = true
      defer { state.connections = [:] }
      return Array(state.connections.values)
    }
    for connection in connections { connection.client.beginGracefulShutdown() }
    for connection in connections { await connection.running.value }
  }

  /// One call to a node's daemon; its failures bear the node's name and are counted.
  func call<Response: Sendable>(
    _ node: Node, _ body: @Sendable (ControlClient<Transport>) async throws(ControlError) -> Response
  ) async throws(NodeCallError) -> Response {
    do throws(ControlError) {
      let address = try ControlAddress(parsing: node.address)
      let response = try await body(ControlClient(wrapping: try connection(to: address), address: address))
      metrics.nodeCall(result: "ok")
      return response
    } catch {
      let failure = NodeCallError(node: node.name, error)
      metrics.nodeCall(result: failure.apiError.code.rawValue)
      throw failure
    }
  }

  /// Ends the connection to an address that a node doesn't have any more.
  func forget(_ address: String) {
    guard let address = try? ControlAddress(parsing: address) else { return }
    state.withLock { $0.connections.removeValue(forKey: address) }?.client.beginGracefulShutdown()
  }

  private func connection(to address: ControlAddress) throws(ControlError) -> GRPCClient<Transport> {
    do {
      return try state.withLock { state in
        guard !state.isEnding else { throw ControlError(.unavailable, "the API is shutting down") }
        if let existing = state.connections[address] { return existing.client }
        if state.connections.count >= Self.connectionsMax, let other = state.connections.keys.first {
          state.connections.removeValue(forKey: other)?.client.beginGracefulShutdown()
        }
        let client = GRPCClient(
          transport: try Self.transport(address), interceptors: [TraceClientInterceptor()])
        // Ends by beginGracefulShutdown(); an error that ends it earlier shows in the calls.
        let running = Task { _ = try? await client.runConnections() }
        state.connections[address] = Connection(client: client, running: running)
        return client
      }
    } catch {
      throw error as? ControlError ?? ControlError(.unavailable, "cannot connect to \(address): \(error)")
    }
  }

  private static func transport(_ address: ControlAddress) throws -> Transport {
    let config = Transport.Config.defaults { config in
      // A restarted daemon is found again within a second, and a single call waits for no other.
      config.backoff = .init(initial: .milliseconds(50), max: .seconds(1), multiplier: 1.6, jitter: 0.2)
      config.connection.flushCoalescing = nil
    }
    return try Transport(
      target: .unixDomainSocket(path: address.socketPath), transportSecurity: .plaintext, config: config)
  }
}
