import Control
import ControlProtocol
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc
import LinuxSystem
import Logging
import ServiceLifecycle

/// The daemon's gRPC server on a unix socket: control, health and reflection.
///
/// Who may open the socket may do everything: mode 0660, owned by the daemon's user and, if one is named, a group.
public struct ControlServer: Service {
  private let path: String
  private let group: gid_t?
  private let server: GRPCServer<HTTP2ServerTransport.Posix>
  private let health: HealthService
  private let controller: Controller
  private let streams = StreamCount()
  private let logger: Logger
  private let onReady: @Sendable () -> Void

  /// - Parameters:
  ///   - groupName: Name or number of the group whose members may use the socket; nil: the process's group.
  ///   - onReady: Called once the socket accepts calls.
  public init(
    controller: Controller, socketPath: String, groupName: String?, version: String, logger: Logger,
    onReady: @escaping @Sendable () -> Void
  ) throws(Control.ControlError) {
    path = socketPath
    self.controller = controller
    group = try groupName.map(ControlServer.findGroup)
    try ControlServer.checkUnused(socketPath)
    health = HealthService(services: [Sluice_Control_V1_Control.descriptor.fullyQualifiedService])
    let transport = HTTP2ServerTransport.Posix(
      address: .unixDomainSocket(path: socketPath), transportSecurity: .plaintext,
      config: .defaults {
        $0.connection.flushCoalescing = nil  // 0.3 ms a call for nothing at this rate
        $0.rpc.maxRequestPayloadSize = ControlLimits.messageByteCountMax
      })
    server = GRPCServer(
      transport: transport,
      services: [
        ControlServiceHandler(controller: controller, version: version, streams: streams), health, ReflectionService(),
        ReflectionServiceAlpha(),
      ],
      interceptorPipeline: [
        .apply(
          TraceServerInterceptor { method, succeeded, duration in
            logger.info(
              "call", metadata: [
                "method": "\(method)", "outcome": succeeded ? "ok" : "refused",
                "duration_ms": "\(duration / .milliseconds(1))",
              ])
          }, to: .services([Sluice_Control_V1_Control.descriptor]))
      ])
    self.logger = logger
    self.onReady = onReady
  }

  /// So long callers have at shutdown to take the rest of what they capture.
  private static let patience = Duration.seconds(2)
  /// And so long to end their connections: one that stands still never would.
  private static let closingPatience = Duration.seconds(5)

  private enum Step { case ready, served, overdue }

  /// Serves until graceful shutdown; calls that run then are finished, and captures that are streamed are completed before.
  public func run() async throws {
    let (closing, closes) = AsyncStream<Never>.makeStream()
    try await withGracefulShutdownHandler {
      try await withThrowingTaskGroup(of: Step.self) { tasks in
        tasks.addTask {
          try await server.serve()
          return .served
        }
        tasks.addTask {
          _ = try await server.listeningAddress
          try restrictSocket()
          logger.info("control socket is ready", metadata: ["path": "\(path)"])
          onReady()
          return .ready
        }
        tasks.addTask {
          for await _ in closing {}  // ends when the shutdown begins, or this is cancelled
          try? await Task.sleep(for: Self.closingPatience)
          return .overdue
        }
        while let step = try await tasks.next(), step == .ready || step == .overdue {
          if step == .ready { continue }
          logger.warning("callers that stand still are cut off")
          break
        }
        tasks.cancelAll()
        while let rest = await tasks.nextResult() { _ = rest }  // cancelled, all of them
      }
    } onGracefulShutdown: {
      health.beginShutdown()
      Task {
        // The shutdown cancels calls that stream, with what their callers have not got yet.
        await controller.endStreams()
        await streams.waitUntilNone(until: .now + Self.patience)
        await controller.answerWaiting()
        server.beginGracefulShutdown()
        closes.finish()
      }
    }
  }

  /// The daemon's umask makes the socket for its user alone; only then it is opened to the group.
  private func restrictSocket() throws {
    if let group, chown(path, uid_t.max, group) != 0 {
      throw SystemError(
        operation: "give to group", code: errno, subject: path,
        remedy: errno == EPERM
          ? "only root may give it to a group that the daemon's user is not in: SupplementaryGroups= in a drop-in of the unit, or usermod -aG"
          : nil)
    }
    guard chmod(path, 0o660) == 0 else {
      throw SystemError(operation: "set mode of", code: errno, subject: path)
    }
  }

  private static func findGroup(_ name: String) throws(Control.ControlError) -> gid_t {
    if let number = gid_t(name) { return number }
    guard let entry = getgrnam(name) else {
      throw .init(.invalidArgument, "there is no group \(name): create it (groupadd --system \(name)) or name another")
    }
    return entry.pointee.gr_gid
  }

  /// Binding takes a path away from a server that is still there: refuse instead.
  private static func checkUnused(_ path: String) throws(Control.ControlError) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let room = MemoryLayout.size(ofValue: address.sun_path) - 1
    guard path.hasPrefix("/"), path.utf8.count <= room else {
      throw .init(.invalidArgument, "socket path \(path): absolute, and at most \(room) bytes")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return }  // the bind will say why
    defer { close(descriptor) }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if connected == 0 {
      throw .init(.failedPrecondition, "another server answers on \(path): stop it, or choose another socket path")
    }
  }
}
