import Foundation
import Synchronization

/// A PostgreSQL server of the tests' own: a fresh cluster in /tmp, on a free port of 127.0.0.1 only, run as the user
/// `postgres` where this process is root. Stopped and removed when the process exits; what a killed process left is
/// removed by the next.
///
/// Safe from any thread. Its calls block.
public final class PostgresServer: Sendable {
  public static let host = "127.0.0.1"
  public static let user = "sluice"
  /// Hostile on purpose: quotes, spaces and a backslash must survive every way that a password takes.
  public static let password = "pa'ss \"wo\\rd"
  private static let prefix = "sluice-test-pg"
  private static let startAttempts = 5

  /// The server of this process, started at the first call.
  public static func shared() throws -> PostgresServer { try sharedResult.get() }

  private static let sharedResult = Result { try PostgresServer() }

  private let programs: String
  private let directory: String
  private let currentPort = Mutex<Int>(0)

  /// Where its unix socket is.
  public var socketDirectory: String { directory }

  public var port: Int { currentPort.withLock { $0 } }

  /// A server of its own, for tests that stop it.
  ///
  /// - Parameter disk: where its files are, a small disk for example; nil: in /tmp.
  public init(on disk: String? = nil) throws {
    programs = try Self.findPrograms()
    Self.removeStale(programs)
    directory = try OwnedDirectory.make(Self.prefix, in: disk ?? "/tmp")
    try TestServer.handOver(directory, to: "postgres", package: "postgresql-common")
    let passwordFile = "\(directory)/password"
    try Data((Self.password + "\n").utf8).write(to: URL(fileURLWithPath: passwordFile))
    try TestServer.handOver(passwordFile, to: "postgres", package: "postgresql-common")
    Self.running.withLock { $0.append((programs, directory)) }
    Self.stopAtExit
    try Command.run(
      "\(programs)/initdb",
      [
        "-D", data, "-U", Self.user, "-A", "scram-sha-256", "--pwfile", passwordFile, "--encoding=UTF8", "--locale=C",
        "--no-sync", "--wal-segsize=1",
      ], as: "postgres")
    try start(onNewPort: true)
  }

  /// Starts it again after ``kill()``, on the same port.
  public func start() throws { try start(onNewPort: false) }

  /// What it has logged.
  public var log: String { (try? String(contentsOfFile: "\(directory)/log", encoding: .utf8)) ?? "" }

  /// `pg_ctl stop -m immediate`: connections die in the middle of what they do.
  public func kill() throws {
    try Command.run("\(programs)/pg_ctl", ["-D", data, "-m", "immediate", "-w", "stop"], as: "postgres")
  }

  /// Stops it and removes its files.
  public func remove() {
    Self.remove(programs, directory)
    Self.running.withLock { $0.removeAll { $0.directory == directory } }
  }

  /// Runs one statement as superuser and returns what psql prints, unaligned.
  @discardableResult
  public func run(_ sql: String, in database: String = "postgres") throws -> String {
    try Command.run(
      "\(programs)/psql",
      ["-h", Self.host, "-p", "\(port)", "-U", Self.user, "-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
      environment: ["PGPASSWORD": Self.password])
  }

  private var data: String { "\(directory)/data" }

  private func start(onNewPort: Bool) throws {
    for attempt in 1... {
      let port = onNewPort ? try TestServer.freePort() : self.port
      do {
        let options =
          "-c listen_addresses=\(Self.host) -c port=\(port) -c unix_socket_directories='\(directory)' -c fsync=off "
          + "-c max_connections=300 -c shared_buffers=32MB -c logging_collector=off"
        try Command.run(
          "\(programs)/pg_ctl", ["-D", data, "-l", "\(directory)/log", "-o", options, "-w", "-t", "60", "start"],
          as: "postgres")
        currentPort.withLock { $0 = port }
        return
      } catch {
        // Another process may have taken the port in between.
        guard onNewPort && attempt < Self.startAttempts else {
          let log = (try? String(contentsOfFile: "\(directory)/log", encoding: .utf8)) ?? ""
          throw DatabaseSupportError(description: "\(error)\n\(log.suffix(2000))")
        }
      }
    }
  }

  private static func findPrograms() throws -> String {
    let base = "/usr/lib/postgresql"
    let versions = ((try? FileManager.default.contentsOfDirectory(atPath: base)) ?? []).compactMap { Int($0) }
    for version in versions.sorted(by: >)
    where FileManager.default.isExecutableFile(atPath: "\(base)/\(version)/bin/initdb") {
      return "\(base)/\(version)/bin"
    }
    throw DatabaseSupportError(
      description: "the tests need a PostgreSQL server: apt-get install -y --no-install-recommends postgresql")
  }

  // MARK: Cleaning up

  private static let running = Mutex<[(programs: String, directory: String)]>([])

  /// Touched once by each server; registers the handler once per process.
  private static let stopAtExit: Void = {
    atexit {
      for server in PostgresServer.running.withLock({ $0 }) {
        PostgresServer.remove(server.programs, server.directory)
      }
    }
  }()

  private static func removeStale(_ programs: String) {
    for directory in OwnedDirectory.stale(prefix) { remove(programs, directory) }
  }

  /// Best effort: the server may have ended, or another process may be at the same work.
  private static func remove(_ programs: String, _ directory: String) {
    _ = try? Command.run(
      "\(programs)/pg_ctl", ["-D", "\(directory)/data", "-m", "immediate", "-w", "stop"], as: "postgres")
    try? FileManager.default.removeItem(atPath: directory)
  }
}
