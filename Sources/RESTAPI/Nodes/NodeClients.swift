import ControlProtocol
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import ServiceLifecycle
import Synchronization

/// The daemons that this API talks to: one kept gRPC connection per address.
///
/// Run it as a service; when that ends, calls in flight are finished and the connections closed.
public final class NodeClients: Service {
  typealias Transport = HTTP2ClientTransport.Posix
  typealias Control = Sluice_Control_V1_Control.Client<Transport>

  private struct Connection {
    let client: GRPCClient<Transport>
    let running: Task<Void, Never>
  }
  private struct State {
    var connections: [String: Connection] = [:]
    var isEnding = false
  }
  private let state = Mutex(State())
  private let metrics: APIMetrics

  /// For calls that only read.
  static let readTimeout = Duration.seconds(5)
  /// For calls that load, verify and attach programs.
  static let changeTimeout = Duration.seconds(30)
  /// Connections kept; a further address takes the place of an unused one.
  static let connectionsMax = 256

  public init(metrics: APIMetrics) { self.metrics = metrics }

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

  /// One call to a node's daemon, with its failures in one form.
  ///
  /// - Parameters:
  ///   - node: name, for messages.
  ///   - address: `unix:/path`.
  ///   - body: makes the call with the given options.
  func call<Response: Sendable>(
    _ node: String, at address: String, timeout: Duration = readTimeout,
    _ body: @Sendable (Control, CallOptions) async throws -> Response
  ) async throws(NodeCallError) -> Response {
    do {
      let client = try connection(to: address)
      var options = CallOptions.defaults
      options.timeout = timeout
      let response = try await body(Control(wrapping: client), options)
      metrics.nodeCall(result: "ok")
      return response
    } catch {
      let failure = NodeCallError(node: node, address: address, error)
      metrics.nodeCall(result: failure.apiError.code.rawValue)
      throw failure
    }
  }

  /// Forgets the connection to an address that no node has any more.
  func forget(_ address: String) {
    state.withLock { $0.connections.removeValue(forKey: address) }?.client.beginGracefulShutdown()
  }

  private func connection(to address: String) throws -> GRPCClient<Transport> {
    guard let path = NodeAddress.socketPath(address) else {
      throw RPCError(code: .unavailable, message: "the address is not of the form unix:/path")
    }
    return try state.withLock { state in
      guard !state.isEnding else { throw RPCError(code: .unavailable, message: "the API is shutting down") }
      if let existing = state.connections[address] { return existing.client }
      if state.connections.count >= Self.connectionsMax, let other = state.connections.keys.first {
        state.connections.removeValue(forKey: other)?.client.beginGracefulShutdown()
      }
      let client = GRPCClient(transport: try Self.transport(path))
      // Ends by beginGracefulShutdown(); an error that ends it earlier shows in the calls.
      let running = Task { _ = try? await client.runConnections() }
      state.connections[address] = Connection(client: client, running: running)
      return client
    }
  }

  private static func transport(_ path: String) throws -> Transport {
    let config = Transport.Config.defaults { config in
      // A restarted daemon is found again within a second, and a single call waits for no other.
      config.backoff = .init(initial: .milliseconds(50), max: .seconds(1), multiplier: 1.6, jitter: 0.2)
      config.connection.flushCoalescing = nil
    }
    return try Transport(target: .unixDomainSocket(path: path), transportSecurity: .plaintext, config: config)
  }
}

/// How a node's daemon is reached.
enum NodeAddress {
  /// sockaddr_un has room for 108 bytes with the final zero.
  static let pathBytesMax = 107

  static func socketPath(_ address: String) -> String? {
    guard address.hasPrefix("unix:/"), address.utf8.count <= pathBytesMax + 5 else { return nil }
    return String(address.dropFirst(5))
  }

  static let shape = StringShape(bytes: 1...112, pattern: "^unix:/.+$") { text in
    socketPath(text) == nil ? "must be unix:/path with a path of at most \(pathBytesMax) bytes" : nil
  }
}
