import DatabaseSupport
import Foundation
import FoundationNetworking
import Synchronization
import Testing

/// The built program, run as an operator runs it.
@Suite("sluice-api, the program")
struct ExecutableTests {
  /// A running or ended program with what it has printed to standard error.
  final class Run: Sendable {
    private let process: Process
    private let output: String

    /// - Parameter environment: over a temporary directory, a free port and SQLite.
    init(in directory: String, _ environment: [String: String], _ arguments: [String] = []) throws {
      let programs = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
      output = "\(directory)/stderr-\(UUID().uuidString)"
      let process = Process()
      process.executableURL = programs.appendingPathComponent("sluice-api")
      process.arguments = arguments
      process.environment = [
        "PATH": "/usr/bin", "HTTP_PORT": "0", "DB_PATH": "\(directory)/s.db", "SLUICE_LOG": "console",
        "SLUICE_TOKEN_KEYS": "\(directory)/state/keys", "SLUICE_CONFIG": "\(directory)/sluice.yaml",
        "SLUICE_SOCKET": "\(directory)/d.sock",
      ].merging(environment) { $1 }
      try Data("release_mode: true\n".utf8).write(to: URL(fileURLWithPath: "\(directory)/sluice.yaml"))
      try Data().write(to: URL(fileURLWithPath: output))
      let file = try #require(FileHandle(forWritingAtPath: output))
      process.standardError = file
      process.standardOutput = file
      process.standardInput = FileHandle.nullDevice
      try process.run()
      self.process = process
    }

    var text: String { (try? String(contentsOfFile: output, encoding: .utf8)) ?? "" }
    var processIdentifier: Int32 { process.processIdentifier }
    func terminate() { process.terminate() }
    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// The exit status; nil where it runs on after 30 seconds, and is killed then.
    func status() async throws -> Int32? {
      let deadline = ContinuousClock.now + .seconds(30)
      while process.isRunning {
        guard ContinuousClock.now < deadline else {
          kill(process.processIdentifier, SIGKILL)
          return nil
        }
        try await Task.sleep(for: .milliseconds(5))
      }
      return process.terminationStatus
    }

    /// The port it listens on, once it says that it is ready.
    func port() async throws -> Int {
      let deadline = ContinuousClock.now + .seconds(30)
      while process.isRunning, ContinuousClock.now < deadline {
        if let match = text.firstMatch(of: /ready.*address=\S*:(\d+)/), let port = Int(match.1) { return port }
        try await Task.sleep(for: .milliseconds(5))
      }
      throw NotReady(output: text)
    }

    struct NotReady: Error { let output: String }
  }

  private func withDirectory(_ body: (String) async throws -> Void) async throws {
    let directory = try TestDatabase.directory()
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try await body(directory)
  }

  @Test("Ends with 0 on SIGTERM, and keeps its secret and database to itself")
  func life() async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, [:])
      let port = try await run.port()
      #expect((1...65535).contains(port))
      let keys = "\(directory)/state/keys"
      let names = try FileManager.default.contentsOfDirectory(atPath: keys).filter { $0.hasSuffix(".jwk") }
      #expect(names.count == 1)
      let secret = "\(keys)/\(try #require(names.first))"
      for (path, wanted) in [(secret, 0o600), (keys, 0o700), ("\(directory)/s.db", 0o600)] {
        let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? NSNumber
        #expect(mode?.intValue == wanted, "\(path)")
      }
      run.terminate()
      #expect(try await run.status() == 0, "\(run.text)")
      #expect(!run.text.contains("admin123"))
      let before = try Data(contentsOf: URL(fileURLWithPath: secret))
      let again = try Run(in: directory, ["SLUICE_SOCKET": "\(directory)/other.sock"])
      _ = try await again.port()
      #expect(!run.text.contains("another address") && again.text.contains("another address than control.socket"), "\(again.text)")
      again.terminate()
      _ = try await again.status()
      #expect(try Data(contentsOf: URL(fileURLWithPath: secret)) == before, "tokens outlive a restart")
    }
  }

  @Test("Refuses to listen beyond loopback while the first password stands", arguments: ["0.0.0.0", "::", "192.0.2.1"])
  func loopback(_ host: String) async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, ["HTTP_HOST": host])
      #expect(try await run.status() == 1)
      #expect(run.text.contains("refusing to listen") && run.text.contains("HTTP_HOST=127.0.0.1"))
    }
  }

  @Test(
    "Refuses a token secret that is short or that others can read",
    arguments: [(0o600, "short"), (0o604, String(repeating: "a", count: 48))])
  func badSecret(_ mode: Int, _ secret: String) async throws {
    try await withDirectory { directory in
      let path = "\(directory)/secret"
      #expect(
        FileManager.default.createFile(atPath: path, contents: Data(secret.utf8), attributes: [.posixPermissions: mode])
      )
      let run = try Run(in: directory, ["SLUICE_JWT_SECRET_FILE": path])
      #expect(try await run.status() == 1)
      #expect(run.text.contains(path) && !run.text.contains(String(repeating: "a", count: 48)))
    }
  }

  @Test("Keys are listed, rotated and retired; a running API takes them at SIGHUP, and tokens go on")
  func keys() async throws {
    try await withDirectory { directory in
      func keys(_ arguments: String...) async throws -> (status: Int32?, text: String) {
        let run = try Run(in: directory, [:], ["keys"] + arguments)
        return (try await run.status(), run.text)
      }
      struct Key: Decodable { let id, algorithm, state: String }
      func list() async throws -> [Key] {
        try JSONDecoder().decode([Key].self, from: Data(try await keys("list", "--json").text.utf8))
      }
      #expect(try await keys("list").text.contains("no key"))
      let run = try Run(in: directory, [:])
      let url = "http://127.0.0.1:\(try await run.port())"
      func published() async throws -> String {
        let (data, _) = try await URLSession.shared.data(from: try #require(URL(string: url + "/.well-known/jwks.json")))
        return String(decoding: data, as: UTF8.self)
      }
      let old = try #require(try await list().first)
      #expect(old.algorithm == "EdDSA" && old.state == "signing")
      #expect(try await published().contains(old.id))
      #expect(try await keys("retire", old.id).text.contains("rotate first"))
      #expect(try await keys("rotate").status == 0)
      #expect(try await list().map(\.state) == ["signing", "coming"])
      #expect(try await keys("rotate", "--now", "--set", "api.token_algorithm=ES256").status == 0)
      let now = try await list()
      #expect(now.map(\.state).sorted() == ["coming", "signing", "verifying"])
      #expect(now.first { $0.state == "signing" }?.algorithm == "ES256")
      #expect(try await keys("retire", old.id).status == 0)
      run.signal(SIGHUP)
      let deadline = ContinuousClock.now + .seconds(10)
      while try await published().contains(old.id), ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(try await !published().contains(old.id))
      let signing = try #require(now.first { $0.state == "signing" })
      let file = "\(directory)/state/keys/\(signing.id).jwk"
      try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: file)
      let refused = try await keys("list")
      #expect(refused.status == 1 && refused.text.contains("chmod 600 \(file)"))
      run.signal(SIGHUP)
      while !run.text.contains("stay as they were"), ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
      }
      #expect(run.text.contains("stay as they were"), "a wrong file stops nothing")
      run.terminate()
      #expect(try await run.status() == 0)
    }
  }

  @Test("Accounts come from a file: again does no harm, and a wrong record leaves the others")
  func seed() async throws {
    try await withDirectory { directory in
      func seed(_ text: String) async throws -> (status: Int32?, text: String) {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/accounts.json"))
        let run = try Run(in: directory, [:], ["seed", "\(directory)/accounts.json"])
        return (try await run.status(), run.text)
      }
      let good = #"{"email":" Ops@Example.org","name":"Ops","roles":["Maintainer"]}"#
      let first = try await seed("[\(good)]")
      #expect(first.status == 0 && first.text.contains("created  [0] ops@example.org: slr_"), "\(first.text)")
      let again = try await seed("[\(good)]")
      #expect(again.status == 0 && again.text.contains("unchanged  [0] ops@example.org"))
      let mixed = try await seed(
        """
        [{"email":"not an address"},{"email":"ops@example.org","is_active":false},{"email":"ops@example.org"},7,
         {"email":"a@x.org","roles":["Emperor"]},{"email":"b@x.org","custom_roles":["nothing"]},{"emial":"c@x.org"},
         {"email":"d@x.org","name":"'; DROP TABLE users; --"}]
        """)
      #expect(mixed.status == 1)
      for line in [
        "skipped  [0] not an address", "changed  [1] ops@example.org", "skipped  [2] ops@example.org", "skipped  [3]",
        "skipped  [4] a@x.org", "skipped  [5] b@x.org", "skipped  [6]", "created  [7] d@x.org",
      ] { #expect(mixed.text.contains(line), "\(line) in \(mixed.text)") }
      for wrong in ["", "{}", "[", "null"] { #expect(try await seed(wrong).status == 1) }
    }
  }

  @Test(
    "An account of the first administrator's address that was there before stays as it is, and the log says what to do",
    arguments: [("Viewer", true), ("Admin", false), ("Admin", true)])
  func foreignAdministrator(_ role: String, _ isActive: Bool) async throws {
    try await withDirectory { directory in
      let record = #"[{"email":"admin@localhost.local","roles":["\#(role)"],"is_active":\#(isActive)}]"#
      try Data(record.utf8).write(to: URL(fileURLWithPath: "\(directory)/accounts.json"))
      let seed = try Run(in: directory, [:], ["seed", "\(directory)/accounts.json"])
      #expect(try await seed.status() == 0, "\(seed.text)")
      let run = try Run(in: directory, [:])
      _ = try await run.port()
      run.terminate()
      #expect(try await run.status() == 0)
      let isAdministrator = role == "Admin" && isActive
      #expect(run.text.contains("is no active one; it stays as it is") == !isAdministrator, "\(run.text)")
      #expect(run.text.contains("sluice-api seed") == !isAdministrator)
      #expect(run.text.contains("his password is his own") == isAdministrator)
      #expect(!run.text.contains("change the password"))
      let again = try Run(in: directory, [:], ["seed", "\(directory)/accounts.json"])
      #expect(try await again.status() == 0)
      #expect(again.text.contains("unchanged"), "\(again.text)")
    }
  }

  @Test("Gives up on a database that never answers, after the retries, with the reason")
  func noDatabase() async throws {
    try await withDirectory { directory in
      let run = try Run(
        in: directory,
        [
          "DB_TYPE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_PASS": "hidden-secret",
          "DB_MAX_RETRIES": "2", "DB_RETRY_DELAY": "10ms",
        ])
      #expect(try await run.status() == 1)
      #expect(run.text.contains("retry=2/2") && run.text.contains("unavailable"))
      #expect(!run.text.contains("hidden-secret"))
    }
  }

  @Test(
    "Wrong settings and usage end with 64 and name the setting",
    arguments: [
      (["HTTP_PORT": "70000"], "HTTP_PORT"), (["DB_TYPE": "mongo"], "DB_TYPE"),
      (["HTTP_TLS_KEY": "/none.key"], "api.tls_certificate"),
    ])
  func badSettings(_ environment: [String: String], _ name: String) async throws {
    try await withDirectory { directory in
      let run = try Run(in: directory, environment)
      #expect(try await run.status() == 64)
      #expect(run.text.contains(name))
    }
  }
}
