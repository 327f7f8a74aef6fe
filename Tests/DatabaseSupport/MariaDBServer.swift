import Foundation
import Synchronization

/// A MariaDB server of the tests' own: a fresh data directory, in memory or in /tmp, on a free port of 127.0.0.1 only,
/// run as the user `mysql` where this process is root. Stopped and removed when the process exits; what a killed process
/// left is removed by the next.
///
/// Safe from any thread. Its calls block.
public final class MariaDBServer: Sendable {
  public static let host = "127.0.0.1"
  public static let user = "sluice"
  /// As hostile as PostgreSQL's.
  public static let password = PostgresServer.password
  private static let prefix = "sluice-test-my"
  private static let startAttempts = 5
  private static let clusterAttempts = 3
  private static let owner = "mysql"
  private static let memory = "/dev/shm"
  private static let memoryByteCountMin = 1 << 30

  /// In memory where there is room: each of the many definitions of a new database waits for the disk several times,
  /// whatever the options (measured: 4.6 s for the tables of one, against 0.16 s).
  private static var parent: String {
    var state = statvfs()
    guard statvfs(memory, &state) == 0 else { return "/tmp" }
    return Int(clamping: state.f_bavail) * Int(clamping: state.f_frsize) >= memoryByteCountMin ? memory : "/tmp"
  }

  /// The server of this process, started at the first call.
  public static func shared() throws -> MariaDBServer { try sharedResult.get() }

  private static let sharedResult = Result { try MariaDBServer() }

  private let directory: String
  private let options: [String]
  private let currentPort = Mutex<Int>(0)

  /// Where its unix socket is, as `mysqld.sock`.
  public var socketDirectory: String { directory }

  public var port: Int { currentPort.withLock { $0 } }

  /// A server of its own, for tests that stop it.
  ///
  /// - Parameter options: of the server, on its command line; `@` stands for its directory.
  public convenience init(_ options: String..., prepare: (_ directory: String) throws -> Void = { _ in }) throws {
    try self.init(options: options, isJoining: false, prepare: prepare)
  }

  private init(options: [String], isJoining: Bool, prepare: (_ directory: String) throws -> Void = { _ in }) throws {
    Self.removeStale()
    directory = try OwnedDirectory.make(Self.prefix, in: Self.parent)
    self.options = options.map { [directory] in $0.replacing("@", with: directory) }
    Self.running.withLock { $0.append(directory) }
    Self.stopAtExit
    try prepare(directory)
    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
    for path in [directory] + names.map({ "\(directory)/\($0)" }) {
      try TestServer.handOver(path, to: Self.owner, package: "mariadb-server")
    }
    try Command.run(
      Self.installer(),
      ["--no-defaults", "--datadir=\(directory)/data", "--auth-root-authentication-method=normal", "--skip-test-db"],
      as: Self.owner)
    try start(onNewPort: true)
    // Who joins a cluster gets what it has.
    guard !isJoining else { return }
    let password = Self.password.replacing("\\", with: "\\\\").replacing("'", with: "''")
    for host in ["127.0.0.1", "localhost"] {
      try run("CREATE USER '\(Self.user)'@'\(host)' IDENTIFIED BY '\(password)'")
      try run("GRANT ALL ON `test\\_%`.* TO '\(Self.user)'@'\(host)'")
    }
  }

  /// With a certificate for `localhost` by the authority `ca.pem` in its directory; `other.pem` is another one.
  public static func withTLS() throws -> MariaDBServer {
    try MariaDBServer("--ssl-cert=@/server.pem", "--ssl-key=@/server.key") { directory in
      func openssl(_ arguments: String...) throws { try Command.run("/usr/bin/openssl", arguments) }
      for name in ["ca", "other"] {
        try openssl(
          "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
          "/CN=\(name)", "-keyout", "\(directory)/\(name).key", "-out", "\(directory)/\(name).pem")
      }
      try openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
        "-CA", "\(directory)/ca.pem", "-CAkey", "\(directory)/ca.key", "-keyout", "\(directory)/server.key",
        "-out", "\(directory)/server.pem")
    }
  }

  /// Two nodes of a Galera cluster.
  public static func cluster() throws -> (first: MariaDBServer, second: MariaDBServer) {
    // Another process may have taken one of the nodes' own ports in between, which starting a node again keeps.
    for _ in 1..<clusterAttempts { if let cluster = try? newCluster() { return cluster } }
    return try newCluster()
  }

  private static func newCluster() throws -> (first: MariaDBServer, second: MariaDBServer) {
    let port = try TestServer.freePort(), other = try TestServer.freePort()
    let first = try MariaDBServer(options: galera(port, "gcomm://"), isJoining: false)
    do {
      let second = try MariaDBServer(options: galera(other, "gcomm://\(host):\(port)"), isJoining: true)
      return (first, second)
    } catch {
      first.remove()
      throw error
    }
  }

  private static func galera(_ port: Int, _ cluster: String) throws -> [String] {
    let transfer = try TestServer.freePort(), increments = try TestServer.freePort()
    return [
      "--wsrep-on=ON", "--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--binlog-format=ROW",
      "--innodb-autoinc-lock-mode=2", "--log-bin-trust-function-creators=1", "--wsrep-cluster-address=\(cluster)",
      "--wsrep-node-address=\(host)",
      "--wsrep-sst-method=rsync", "--wsrep-sst-receive-address=\(host):\(transfer)",
      "--wsrep-provider-options=base_host=\(host);base_port=\(port);gmcast.listen_addr=tcp://\(host):\(port);"
        + "ist.recv_addr=\(host):\(increments);gcache.size=8M",
    ]
  }

  /// Starts it again after ``kill()``, on the same port.
  public func start() throws { try start(onNewPort: false) }

  /// Connections die in the middle of what they do.
  public func kill() { Self.kill(directory) }

  /// Stops it and removes its files.
  public func remove() {
    Self.remove(directory)
    Self.running.withLock { $0.removeAll { $0 == directory } }
  }

  /// Runs one statement as root and returns what the client prints, with tabs between columns.
  @discardableResult
  public func run(_ sql: String, in database: String = "mysql") throws -> String {
    try Command.run(
      "/usr/bin/mariadb",
      ["--no-defaults", "--socket=\(directory)/mysqld.sock", "--user=root", "-NB", "--database=\(database)", "-e", sql])
  }

  private func start(onNewPort: Bool) throws {
    for attempt in 1... {
      let port = onNewPort ? try TestServer.freePort() : self.port
      do {
        try launch(port)
        currentPort.withLock { $0 = port }
        return
      } catch {
        Self.kill(directory)
        // Another process may have taken the port in between.
        guard onNewPort && attempt < Self.startAttempts else { throw error }
      }
    }
  }

  /// Returns once it answers; it goes into the background by `setsid`, since it cannot by itself.
  private func launch(_ port: Int) throws {
    unlink("\(directory)/pid")
    let arguments =
      [
        "--no-defaults", "--datadir=\(directory)/data", "--socket=\(directory)/mysqld.sock", "--port=\(port)",
        "--bind-address=\(Self.host)", "--pid-file=\(directory)/pid", "--log-error=\(directory)/log",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
        "--performance-schema=OFF", "--max-connections=300", "--skip-name-resolve", "--max-allowed-packet=64M",
      ] + options
    // By its own option: runuser would wait beside it, and be left behind stopped where both are signalled.
    let user = geteuid() == 0 ? ["--user=\(Self.owner)"] : []
    try Command.run("/usr/bin/setsid", ["--fork", "/usr/sbin/mariadbd"] + arguments + user)
    let deadline = ContinuousClock.now + .seconds(90)
    while (try? run("SELECT 1")) == nil {
      let log = (try? String(contentsOfFile: "\(directory)/log", encoding: .utf8)) ?? ""
      guard ContinuousClock.now < deadline, !log.contains("[ERROR] Aborting") else {
        throw DatabaseSupportError(description: "mariadbd did not start\n\(log.suffix(2000))")
      }
      usleep(50_000)
    }
  }

  private static func installer() throws -> String {
    let path = "/usr/bin/mariadb-install-db"
    guard FileManager.default.isExecutableFile(atPath: path) else {
      throw DatabaseSupportError(
        description: "the tests need a MariaDB server: apt-get install -y --no-install-recommends mariadb-server")
    }
    return path
  }

  // MARK: Cleaning up

  private static let running = Mutex<[String]>([])

  /// Touched once by each server; registers the handler once per process.
  private static let stopAtExit: Void = {
    atexit { for directory in MariaDBServer.running.withLock({ $0 }) { MariaDBServer.remove(directory) } }
  }()

  private static func removeStale() {
    for directory in ["/tmp", memory].flatMap({ OwnedDirectory.stale(prefix, in: $0) }) { remove(directory) }
  }

  private static func kill(_ directory: String) {
    guard let text = try? String(contentsOfFile: "\(directory)/pid", encoding: .utf8),
      let pid = pid_t(text.filter { $0.isNumber }), isServer(pid, directory)
    else { return }
    Glibc.kill(pid, SIGKILL)
    while isServer(pid, directory) { usleep(10_000) }
  }

  /// A zombie has no command line any more, and a number may be another's by now.
  private static func isServer(_ pid: pid_t, _ directory: String) -> Bool {
    ((try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)) ?? "").contains("--datadir=\(directory)/")
  }

  private static func remove(_ directory: String) {
    kill(directory)
    try? FileManager.default.removeItem(atPath: directory)
  }
}
